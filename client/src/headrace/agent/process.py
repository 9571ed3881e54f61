"""Runs a process of a cluster from its identity to its end."""

from __future__ import annotations

import gc
import logging
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import TypeAlias

import dask.config
from distributed.compatibility import asyncio_run
from distributed.config import get_loop_factory

from headrace.agent import signals
from headrace.agent.channel import ControllerChannel
from headrace.agent.enrollment import NotEnrolled
from headrace.agent.identity import SCHEDULER, Identity, remove_token
from headrace.agent.scheduler import run_scheduler
from headrace.agent.worker import run_worker

logger = logging.getLogger("headrace.agent")


Assigned: TypeAlias = tuple[Identity, ControllerChannel]
"""What a process becomes, and its connection."""


def run(identity: Identity, assigned: Callable[[], Awaitable[Assigned | None]] | None = None) -> int:
    """Enrols, runs the scheduler or the worker with its nanny until it ends, and returns the exit code.

    Called once, in a fresh process or in one that was forked before any thread, event loop or gRPC existed.

    Parameters
    ----------
    assigned
        For a process in standby: waits until it is known which process it becomes; None if it ends before.
    """
    signals.reset()
    log_like_dask()
    remove_token(os.environ)
    # Spawned children would import the parent's main module again, which has nothing to do with a user's tasks.
    sys.modules["__main__"] = ModuleType("__main__")
    _set_limits()

    async def serve() -> int:
        nonlocal identity
        if assigned is None:
            channel = ControllerChannel(identity)
        elif (given := await assigned()) is None:
            return 0
        else:
            identity, channel = given
        try:
            return await (run_scheduler if identity.role == SCHEDULER else run_worker)(identity, channel)
        finally:
            await channel.close()

    try:
        return asyncio_run(serve(), loop_factory=get_loop_factory())
    except NotEnrolled as error:
        logger.error("%s", error)  # noqa: TRY400 the message says everything
    except Exception as error:
        logger.exception("%s of cluster %s failed", identity.process, identity.cluster)
        logger.error("%s of cluster %s failed: %s", identity.process, identity.cluster, _cause(error))  # noqa: TRY400
    return 1


def _set_limits() -> None:
    """Sets what `dask scheduler` and `dask worker` set."""
    # A scheduler holds a socket or two for each worker and client.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard // 2), hard))
    # Collections are slow beside Dask's many long-lived objects.
    first, second, third = gc.get_threshold()
    gc.set_threshold(first * 3, second * 3, third * 3)


def _cause(error: BaseException) -> BaseException:
    """Returns the original error, which Dask wraps in "failed to start"."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def log_like_dask() -> None:
    """Writes the agent's log lines where Dask writes its own."""
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(dask.config.get("distributed.admin.log-format")))
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.INFO)
