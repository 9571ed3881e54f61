"""Runs a process of a cluster from its identity to its end."""

from __future__ import annotations

import logging
import os
import sys
from types import ModuleType

import dask.config
from distributed.compatibility import asyncio_run
from distributed.config import get_loop_factory

from headrace.agent import limits, signals
from headrace.agent.enroll import NotEnrolled
from headrace.agent.identity import SCHEDULER, Identity, forget_token
from headrace.agent.scheduler import run_scheduler
from headrace.agent.worker import run_worker

logger = logging.getLogger("headrace.agent")


def run(identity: Identity) -> int:
    """Enrols, runs the scheduler or the worker with its nanny until it ends, and returns the exit code.

    Called once, in a fresh process or in one that was forked before any thread, event loop or gRPC existed.
    """
    signals.reset()
    log_like_dask()
    forget_token(os.environ)
    # The parent's main module is none of a user's business; spawned children would import it again.
    sys.modules["__main__"] = ModuleType("__main__")
    limits.raise_open_files()
    limits.collect_garbage_rarely()
    serve = run_scheduler if identity.role == SCHEDULER else run_worker
    try:
        return asyncio_run(serve(identity), loop_factory=get_loop_factory())
    except NotEnrolled as error:
        logger.error("%s", error)  # noqa: TRY400 the sentence says it all
    except Exception as error:
        logger.exception("%s of cluster %s failed", identity.process, identity.cluster)
        logger.error("%s of cluster %s failed: %s", identity.process, identity.cluster, _cause(error))  # noqa: TRY400
    return 1


def _cause(error: BaseException) -> BaseException:
    """What began it: Dask wraps the reason in "failed to start"."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def log_like_dask() -> None:
    """Sends the agent's own lines where Dask's go."""
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(dask.config.get("distributed.admin.log-format")))
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.INFO)
