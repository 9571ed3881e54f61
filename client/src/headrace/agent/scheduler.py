"""A cluster's scheduler: Dask's own, with the agent beside it on its event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from importlib.util import find_spec
from typing import Any

import dask.config
from distributed import Scheduler
from distributed.comm.addressing import unparse_host_port
from distributed.proctitle import enable_proctitle_on_children, enable_proctitle_on_current

from headrace._resumable import listening
from headrace._resumable.listening import SessionTable
from headrace.agent import dashboard, signals, worker_status
from headrace.agent.channel import ControllerChannel
from headrace.agent.client_absences import session_grace
from headrace.agent.enrollment import enroll, keep_renewed
from headrace.agent.grace import grace_seconds, hands_over, usable_seconds
from headrace.agent.identity import Identity
from headrace.agent.scheduler_agent import SchedulerAgent
from headrace.agent.settings import apply
from headrace.agent.start_span import start_span
from headrace.agent.tls import Certificates, RenewableSecurity, certificates_of
from headrace.internal.v1 import agent_service_pb2 as pb

logger = logging.getLogger("headrace.agent")


async def run_scheduler(identity: Identity, channel: ControllerChannel) -> int:
    """Runs the scheduler until it ends; returns the exit code."""
    grace = grace_seconds()
    began = time.time_ns()
    enrollment = await enroll(channel, identity)
    apply(enrollment)
    with start_span(identity, channel, enrollment, began):
        security = RenewableSecurity(certificates_of(enrollment))
        sessions = SessionTable(session_grace())
        listening.install(sessions)
        scheduler = make_scheduler(enrollment, security)
        agent = SchedulerAgent(scheduler, channel, enrollment, sessions)
        await scheduler

    async def install(certificates: Certificates) -> None:
        security.renew(certificates)

    async with agent.running():
        renewing = asyncio.create_task(keep_renewed(identity, channel, enrollment, install))
        await _until_end(scheduler, agent, grace)
        renewing.cancel()
    logger.info("scheduler of cluster %s ended", identity.cluster)
    return 0


def make_scheduler(enrollment: pb.EnrollResponse, security: RenewableSecurity) -> Scheduler:
    """Creates what `dask scheduler` creates, with settings from the enrolment and a dashboard that is built later."""
    enable_proctitle_on_current()
    enable_proctitle_on_children()
    host = enrollment.listen_host
    dashboard_address: Any = [(host, _port("HEADRACE_DASHBOARD_PORT"))]  # as a text it could have no IPv6 host
    scheduler = Scheduler(
        security=security,
        protocol="tls",
        host=unparse_host_port(host) or None,
        port=_port("HEADRACE_SCHEDULER_PORT"),
        dashboard=False,
        dashboard_address=dashboard_address,
        jupyter=False,
    )
    worker_status.serve_many(scheduler)
    dashboard.protect(scheduler, enrollment.dashboard_key, enrollment.metrics_key)
    if dask.config.get("headrace.dashboard", default=True):
        _connect_dashboard(scheduler)
    return scheduler


def _connect_dashboard(scheduler: Scheduler) -> None:
    if find_spec("bokeh") is None:
        logger.warning("no dashboard: Bokeh is not installed")
    else:
        dashboard.connect(scheduler)


def _port(variable: str) -> int:
    """Reads a port that a backend wants, whose processes have network addresses of their own; 0 means any."""
    return int(os.environ.get(variable, "0"))


async def _until_end(scheduler: Scheduler, agent: SchedulerAgent, grace: float) -> None:
    ended = asyncio.create_task(scheduler.finished())
    signalled = asyncio.create_task(signals.wait_for_end())
    gone = asyncio.create_task(agent.cluster_gone())
    try:
        await asyncio.wait((ended, signalled, gone), return_when=asyncio.FIRST_COMPLETED)
        if signalled.done() and not ended.done():
            await _leave(scheduler, agent, grace, reason=signalled.result())
        elif not ended.done():
            await scheduler.close(reason="headrace-cluster-gone")
    finally:
        for task in (ended, signalled, gone):
            task.cancel()


async def _leave(scheduler: Scheduler, agent: SchedulerAgent, grace: float, *, reason: str) -> None:
    """Ends in the time that is left, and says why if that is enough."""
    seconds = usable_seconds(grace)
    if hands_over(grace):
        agent.tell_signal(within=seconds / 2)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await scheduler.close(reason=reason)
    else:
        await scheduler.close(reason=reason)
