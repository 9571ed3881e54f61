"""A Dask preload: the agent inside a process that runs a command of the user's choice, such as ``dask cuda worker``."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from distributed import Scheduler

from headrace.agent.channel import ControllerChannel
from headrace.agent.enroll import enroll
from headrace.agent.identity import Identity, forget_token
from headrace.agent.process import log_like_dask
from headrace.agent.scheduler_agent import SchedulerAgent

if TYPE_CHECKING:
    from distributed import Worker

_running = contextlib.AsyncExitStack()


async def dask_setup(server: Scheduler | Worker) -> None:
    """Speaks for a scheduler; gives a worker without a name its own."""
    log_like_dask()
    if isinstance(server, Scheduler):
        await _speak_for(server)
    elif server.name == server.address:
        # By this name the scheduler's agent reports it.
        server.name = os.environ["HEADRACE_PROCESS"]


async def dask_teardown(_server: object) -> None:
    """Stops speaking."""
    await _running.aclose()


async def _speak_for(scheduler: Scheduler) -> None:
    identity = Identity.from_environment(os.environ)
    forget_token(os.environ)
    channel = ControllerChannel(identity)
    _running.push_async_callback(channel.close)
    agent = SchedulerAgent(scheduler, channel, await enroll(channel, identity))
    await _running.enter_async_context(agent.at_work())
