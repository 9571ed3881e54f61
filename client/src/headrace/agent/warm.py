"""What is done once, before it is known for whom: in the nursery, and in a process in standby."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import socket
import sys
from collections.abc import Coroutine, Sequence

import dask.config
import grpc.aio
from distributed import Scheduler
from distributed.compatibility import asyncio_run
from distributed.config import get_loop_factory
from distributed.versions import get_versions
from tornado.iostream import SSLIOStream

from headrace.agent.enroll import versions
from headrace.agent.forkserver import pre_spawn_environment

# What a scheduler, a nanny and a worker import, partly as late as on their first task.
_NEEDED = (
    "distributed.scheduler",
    "distributed.nanny",
    "distributed.worker",
    "distributed.comm.tcp",
    "distributed.deploy.adaptive",
    "distributed.protocol.pickle",
    "headrace.agent.process",
    "headrace.agent.takeover",
    "multiprocessing.popen_forkserver",
    "multiprocessing.queues",
    "multiprocessing.synchronize",
)
# What users' tasks need first, where it is installed.
_LIKELY = (
    "headrace.agent.dashboard",
    "numpy",
    "pandas",
    "pyarrow",
    "xarray",
    "dask.array",
    "dask.dataframe",
    "dask.bag",
    "dask.delayed",
    "lz4.frame",
    "setproctitle",
    "bokeh.models",
)


def settle_environment() -> None:
    """Starts this program again if its environment lacks what Dask sets before it starts a worker process.

    Some variables count only when a process is executed. Whatever forks workers must have been started with them.
    """
    needed = pre_spawn_environment()
    if any(os.environ.get(name) != value for name, value in needed.items()):
        os.environ.update(needed)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 it is this program again


def preload(extra_modules: Sequence[str] = ()) -> None:
    """Imports all that the processes of a cluster need, and fills caches. Leaves no thread, and nothing of gRPC."""
    for name in _NEEDED:
        importlib.import_module(name)
    for name in (*_LIKELY, *extra_modules):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    versions()
    get_versions()  # reads the metadata of a dozen packages and runs `uname`, when the first client or worker comes
    _compile_routes()
    _run_quietly(_rehearse())


def standby() -> None:
    """Does once more, in a forked process, what makes memory its own.

    After a fork, memory is shared until it is written to; most of what a scheduler writes to is copied here.
    """
    _run_quietly(_rehearse_all())


def _run_quietly(rehearsal: Coroutine[None, None, None]) -> None:
    logging.disable(logging.CRITICAL)
    try:
        asyncio_run(rehearsal, loop_factory=get_loop_factory())
    finally:
        logging.disable(logging.NOTSET)


async def _rehearse() -> None:
    """A scheduler starts and ends; what it looks up for the first time stays looked up."""
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0"):
        _rehearse_tls()


def _rehearse_tls() -> None:
    """Tornado reads all certificates of the system before its first TLS connection, which takes longer than a fork.

    OpenSSL looks up its algorithms on that occasion.
    """
    ours, theirs = socket.socketpair()
    SSLIOStream(ours).close()
    theirs.close()


async def _rehearse_all() -> None:
    async with grpc.aio.insecure_channel("unix:/nowhere") as channel:
        channel.get_state(try_to_connect=True)
        await _rehearse()


def _compile_routes() -> None:
    """Python keeps compiled patterns: those of the HTTP routes take a tenth of a scheduler's start."""
    from distributed.http.routing import RoutingApplication
    from distributed.http.utils import get_handlers

    for role in ("scheduler", "worker"):
        RoutingApplication(get_handlers(None, dask.config.get(f"distributed.{role}.http.routes"), prefix="/"))
