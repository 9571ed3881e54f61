"""A Dask preload: the agent inside a process that runs a user's command, such as ``dask cuda worker``."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from distributed import Scheduler

from headrace._resumable import listening
from headrace._resumable.listening import SessionTable
from headrace.agent import dashboard
from headrace.agent.channel import ControllerChannel
from headrace.agent.client_absences import session_grace
from headrace.agent.enrollment import enroll
from headrace.agent.identity import Identity, remove_token
from headrace.agent.process import log_like_dask
from headrace.agent.scheduler_agent import SchedulerAgent

if TYPE_CHECKING:
    from distributed import Worker

_running = contextlib.AsyncExitStack()
# Dask imports its preloads before it listens.
_sessions = SessionTable(session_grace())
listening.install(_sessions)


async def dask_setup(server: Scheduler | Worker) -> None:
    """Starts the agent beside a scheduler; gives a worker without a name its id as name, and closes its pages."""
    log_like_dask()
    if isinstance(server, Scheduler):
        await _start_agent(server)
        return
    dashboard.refuse_all(server)
    if server.name == server.address:
        # The scheduler's agent reports workers by name.
        server.name = os.environ["HEADRACE_PROCESS"]


async def dask_teardown(_server: object) -> None:
    """Ends the agent."""
    await _running.aclose()


async def _start_agent(scheduler: Scheduler) -> None:
    identity = Identity.from_environment(os.environ)
    remove_token(os.environ)
    channel = ControllerChannel(identity)
    _running.push_async_callback(channel.close)
    open_dashboard = dashboard.refuse_all(scheduler)
    enrollment = await enroll(channel, identity)
    open_dashboard()
    dashboard.protect(scheduler, enrollment.dashboard_key, enrollment.metrics_key)
    agent = SchedulerAgent(scheduler, channel, enrollment, _sessions)
    await _running.enter_async_context(agent.running())
