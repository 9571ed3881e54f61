"""All that the agent does beside a scheduler, put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import dask.config
from distributed.comm.addressing import get_address_host, unparse_host_port

from headrace.agent.activity import activity_of
from headrace.agent.adaptive import SAMPLES, Range
from headrace.agent.channel import ControllerChannel
from headrace.agent.enroll import versions
from headrace.agent.outbox import Outbox
from headrace.agent.plugin import AgentPlugin
from headrace.agent.retire import Retirement
from headrace.agent.scaling import Scaling
from headrace.agent.session import Session
from headrace.agent.ticker import Ticker
from headrace.internal.v1 import agent_service_pb2 as pb

if TYPE_CHECKING:
    from distributed import Scheduler

logger = logging.getLogger("headrace.agent")

_INTERVAL_SECONDS = 1.0


class SchedulerAgent:
    """Reports on a scheduler and carries out what the controller wants of it."""

    def __init__(self, scheduler: Scheduler, channel: ControllerChannel, enrollment: pb.EnrollResponse) -> None:
        self._scheduler = scheduler
        self._outbox = Outbox()
        self._ticker = Ticker(enrollment.adaptive_interval_seconds or _INTERVAL_SECONDS)
        self._plugin = AgentPlugin(self._outbox, self._ticker.wake)
        self._retirement = Retirement(scheduler, self._outbox)
        samples = dask.config.get("distributed.adaptive.wait-count", default=SAMPLES)
        self._scaling = Scaling(scheduler, self._outbox, samples)
        self._session = Session(channel, self._outbox, self._hello, self._obey)
        self._activity: pb.Activity | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()
        scheduler.add_plugin(self._plugin)

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        """Works while the context is open. A fault of the agent is logged; the scheduler computes on."""
        tasks = [asyncio.create_task(job) for job in (self._speak(), self._look())]
        for task in tasks:
            task.add_done_callback(_log_fault)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def gone(self) -> None:
        """Waits until the cluster's record is gone for good."""
        await self._gone.wait()

    async def _speak(self) -> None:
        await self._session.run()
        logger.warning("the controller no longer knows this cluster: ending")
        self._gone.set()

    async def _look(self) -> None:
        async for regular in self._ticker.looks():
            try:
                self._tell_activity()
                self._scaling.look(regular=regular)
                self._retirement.look()
            except Exception:
                logger.exception("a look at the scheduler failed; the next one may not")

    def _tell_activity(self) -> None:
        activity = activity_of(self._scheduler)
        if activity != self._activity:
            self._activity = activity
            self._outbox.activity(activity)

    def _hello(self) -> pb.SchedulerHello:
        self._scaling.forget_told()
        self._activity = activity_of(self._scheduler)
        return pb.SchedulerHello(
            scheduler_address=self._scheduler.address,
            dashboard_address=_dashboard_address(self._scheduler),
            versions=versions(),
            workers=self._plugin.workers(),
            activity=self._activity,
        )

    def _obey(self, response: pb.SessionResponse) -> None:
        if response.stop and self._stopping is None:
            logger.info("stopping, as asked")
            self._stopping = asyncio.create_task(self._scheduler.close(reason="headrace-stop"))
            return
        groups = response.adaptive_groups
        self._scaling.instruct(
            [Range(g.group, g.minimum, g.maximum) for g in groups], {g.group: g.size for g in groups}
        )
        self._retirement.order({order.group: order.keep for order in response.retire})
        self._ticker.wake()


def _dashboard_address(scheduler: Scheduler) -> str:
    server = scheduler.services.get("dashboard")
    if server is None:
        return ""
    host: str = server.address
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 we ask whether it listens everywhere, and tell where it is reached
        host = get_address_host(scheduler.address)
    return unparse_host_port(host, server.port)


def _log_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("a part of the agent failed; the scheduler computes on", exc_info=task.exception())
