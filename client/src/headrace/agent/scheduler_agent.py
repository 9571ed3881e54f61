"""The agent beside a scheduler, assembled from its parts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import dask.config
from distributed.core import Status

from headrace._resumable.listening import SessionTable
from headrace.agent import dashboard, metrics_page
from headrace.agent.adaptive import SAMPLES, GroupRange
from headrace.agent.channel import ControllerChannel
from headrace.agent.client_absences import ClientAbsences
from headrace.agent.ended_workers import EndedWorkers
from headrace.agent.enrollment import versions
from headrace.agent.idleness import IdleTimeout
from headrace.agent.meter import Meter
from headrace.agent.pending_reports import PendingReports
from headrace.agent.plugin import AgentPlugin
from headrace.agent.poll_timer import PollTimer
from headrace.agent.retirement import Retirement
from headrace.agent.scaling import Scaling
from headrace.agent.scheduler_state import activity_of, dashboard_address, to_send
from headrace.agent.session import HEARTBEAT_SECONDS, Outcome, Session
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2

if TYPE_CHECKING:
    from distributed import Scheduler

logger = logging.getLogger("headrace.agent")

_INTERVAL_SECONDS = 1.0
# A scheduler that ends by itself waits at most this long for a controller to take note.
_CLOSING_SECONDS = 5.0
# The schedulers of a whole deployment hear at once that clients should connect again: each client gets its own moment.
_REDIAL_SECONDS = 5.0


class SchedulerAgent:
    """Reports on a scheduler and applies the controller's instructions."""

    def __init__(
        self,
        scheduler: Scheduler,
        channel: ControllerChannel,
        enrollment: pb.EnrollResponse,
        sessions: SessionTable,
    ) -> None:
        self._scheduler = scheduler
        self._pending = PendingReports()
        self._timer = PollTimer(enrollment.adaptive_interval_seconds or _INTERVAL_SECONDS)
        self._plugin = AgentPlugin(scheduler, self._pending, self._timer.wake, self._report_closing)
        self._sessions = sessions
        dashboard.close_with_guests(scheduler, sessions.guests)
        ClientAbsences(scheduler, sessions, self._pending)
        self._retirement = Retirement(scheduler, self._pending)
        self._ended_workers = EndedWorkers(scheduler)
        samples = dask.config.get("distributed.adaptive.wait-count", default=SAMPLES)
        self._scaling = Scaling(scheduler, self._pending, samples)
        self._session = Session(
            channel,
            self._pending,
            self._hello,
            self._apply,
            enrolment=enrollment.enrolment,
            heartbeat_seconds=enrollment.heartbeat_seconds or HEARTBEAT_SECONDS,
        )
        self._activity: pb.Activity | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._meter = Meter(scheduler)
        metrics_page.serve(scheduler, self._meter)
        self._idle_timeout = IdleTimeout(scheduler)
        self._idle_too_long: asyncio.Task[None] | None = None
        self._shut_down_by_client = False
        self._signalled = False
        self._closing_seconds = _CLOSING_SECONDS
        self._closing_acknowledged = asyncio.Event()
        self._cluster_gone = asyncio.Event()
        scheduler.add_plugin(self._plugin)
        self._watch_for_shutdown()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Runs while the context is open. A fault of the agent is logged; the scheduler keeps computing."""
        tasks = [asyncio.create_task(job) for job in (self._keep_session(), self._poll())]
        for task in tasks:
            task.add_done_callback(_log_fault)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def cluster_gone(self) -> None:
        """Waits until the cluster's record is permanently gone."""
        await self._cluster_gone.wait()

    def tell_signal(self, *, within: float) -> None:
        """Has the controller told, before the scheduler closes, that a signal ends it; waits no longer than `within`.

        A controller that has ordered the end itself pays no attention to it.
        """
        self._signalled = True
        self._closing_seconds = min(self._closing_seconds, within)

    async def _keep_session(self) -> None:
        if await self._session.run() is Outcome.CLOSING_ACKNOWLEDGED:
            self._closing_acknowledged.set()
        else:
            logger.warning("the controller no longer knows this cluster: ending")
            self._cluster_gone.set()

    async def _poll(self) -> None:
        async for regular in self._timer.polls():
            if self._scheduler.status in (Status.closing, Status.closed):
                return
            try:
                self._meter.update()
                self._end_if_idle()
                self._report_activity()
                self._sessions.guests.check()
                self._scaling.check(regular=regular)
                self._retirement.check()
            except Exception:
                logger.exception("a check of the scheduler failed; the next one follows")

    def _end_if_idle(self) -> None:
        if self._idle_too_long is None and self._idle_timeout.passed():
            logger.info("ending: idle for %g s, and no client has futures", self._idle_timeout.seconds)
            self._idle_too_long = asyncio.create_task(self._scheduler.close(reason="headrace-idle"))

    def _report_activity(self) -> None:
        activity = activity_of(self._scheduler)
        if activity != self._activity:
            self._activity = activity
            self._pending.set_activity(activity)

    def _watch_for_shutdown(self) -> None:
        """Notes a call of `Client.shutdown`, which calls the scheduler's handler "terminate" and nothing else does."""
        close = self._scheduler.handlers["terminate"]

        async def terminate(**arguments: object) -> None:
            self._shut_down_by_client = True
            await close(**arguments)

        self._scheduler.handlers["terminate"] = terminate

    async def _report_closing(self) -> None:
        reason = self._closing_reason()
        if reason is None:
            return
        self._pending.set_closing(reason)
        try:
            async with asyncio.timeout(self._closing_seconds):
                await self._closing_acknowledged.wait()
        except TimeoutError:
            logger.warning("no controller received the reason why this scheduler ends")

    def _closing_reason(self) -> cluster_pb2.EndReason.ValueType | None:
        """Returns why the scheduler ends by itself, None if it was instructed to end or the reason is unknown."""
        if self._stopping is not None:
            return None
        if self._shut_down_by_client:
            return cluster_pb2.END_REASON_USER
        if self._idle_too_long is not None:
            return cluster_pb2.END_REASON_IDLE
        return cluster_pb2.END_REASON_SCHEDULER_LOST if self._signalled else None

    def _hello(self) -> pb.SchedulerHello:
        self._scaling.repeat_requests()
        self._activity = activity_of(self._scheduler)
        return pb.SchedulerHello(
            scheduler_address=self._scheduler.address,
            dashboard_address=dashboard_address(self._scheduler),
            versions=versions(),
            workers=self._plugin.workers(),
            activity=to_send(self._activity),
            removes_ended=True,
        )

    def _apply(self, response: pb.SessionResponse) -> None:
        if response.stop and self._stopping is None:
            logger.info("stopping, as instructed")
            self._stopping = asyncio.create_task(self._scheduler.close(reason="headrace-stop"))
            return
        if response.redial:
            logger.info("asking clients to connect again, as instructed: a proxy is about to end")
            self._sessions.redial(within=_REDIAL_SECONDS)
        if response.HasField("guests"):
            self._sessions.guests.set({guest.member: _end_of(guest) for guest in response.guests.guests})
        self._ended_workers.remove({worker.process: worker.address for worker in response.ended})
        groups = response.adaptive_groups
        self._scaling.apply(
            [GroupRange(g.group, g.minimum, g.maximum if g.HasField("maximum") else None) for g in groups],
            {g.group: g.desired for g in groups},
        )
        self._retirement.apply({instruction.group: instruction.keep for instruction in response.retire})
        self._timer.wake()


def _end_of(guest: pb.Guest) -> float:
    return guest.expire_time.ToMilliseconds() / 1000 if guest.HasField("expire_time") else math.inf


def _log_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("a part of the agent failed; the scheduler keeps computing", exc_info=task.exception())
