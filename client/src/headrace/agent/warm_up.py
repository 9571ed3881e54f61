"""Work done once for all clusters, ahead of need: in the zygote, and in a process in standby."""

from __future__ import annotations

import contextlib
import importlib
import logging
import socket
import tempfile
from collections.abc import Coroutine, Iterator, Sequence

import dask.config
import grpc.aio
from distributed import Scheduler, Worker
from distributed.compatibility import asyncio_run
from distributed.config import get_loop_factory
from distributed.versions import get_versions
from tornado.iostream import SSLIOStream

from headrace.agent.enrollment import versions

# Imported by a scheduler, a nanny and a worker, partly as late as on their first task.
_NEEDED = (
    "distributed.scheduler",
    "distributed.nanny",
    "distributed.worker",
    "distributed.comm.tcp",
    "distributed.deploy.adaptive",
    "distributed.protocol.pickle",
    "headrace.agent.process",
    "headrace.agent.inheritance",
    "multiprocessing.popen_forkserver",
    "multiprocessing.queues",
    "multiprocessing.synchronize",
)
# Imported by users' tasks, or by a dashboard that is opened, where they are installed.
_LIKELY = (
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
    "distributed.dashboard.scheduler",
)


def preload(extra_modules: Sequence[str] = ()) -> Iterator[bool]:
    """Imports what the processes of a cluster need, and fills caches. Leaves no thread, and nothing of gRPC.

    Yields after each piece of a few tenths of a second at most whether schedulers can be forked already.
    """
    for name in _NEEDED:
        importlib.import_module(name)
        yield False
    versions()
    get_versions()  # reads the metadata of a dozen packages and runs `uname`, when the first client or worker comes
    _compile_routes()
    yield True
    for name in (*_LIKELY, *extra_modules):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
        yield True
    # Last: forked processes use the memory that these free. Imports after it would leave scattered holes of it.
    _run_quietly(_rehearse_with_worker())
    yield True


def standby() -> None:
    """Starts and ends a scheduler in a forked process, ahead of need.

    After a fork, memory is shared until it is written to. Most of the pages that a scheduler writes to are copied here.
    """
    _run_quietly(_rehearse_all())


def _run_quietly(rehearsal: Coroutine[None, None, None]) -> None:
    logging.disable(logging.CRITICAL)
    try:
        asyncio_run(rehearsal, loop_factory=get_loop_factory())
    finally:
        logging.disable(logging.NOTSET)
        tempfile.tempdir = None  # found in this process's environment; forked ones have another


async def _rehearse() -> None:
    """Starts and ends a scheduler, which fills the caches on its way."""
    async with _scheduler():
        _rehearse_tls()


async def _rehearse_with_worker() -> None:
    """The same with a worker. Its process, forked later, starts in three quarters of the processor time."""
    with tempfile.TemporaryDirectory(prefix="headrace-rehearsal-") as directory:
        config = {"temporary-directory": directory, "distributed.worker.http.routes": []}
        with dask.config.set(config):
            async with _scheduler() as scheduler, _worker(scheduler):
                _rehearse_tls()


def _scheduler() -> Scheduler:
    return Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0")


def _worker(scheduler: Scheduler) -> Worker:
    nowhere = "127.0.0.1:0"
    return Worker(scheduler.address, host="127.0.0.1", nthreads=1, dashboard=False, dashboard_address=nowhere)


def _rehearse_tls() -> None:
    """Makes Tornado read all certificates of the system, which takes longer than a fork, and OpenSSL its algorithms.

    Otherwise both happen on the first TLS connection.
    """
    ours, theirs = socket.socketpair()
    SSLIOStream(ours).close()
    theirs.close()


async def _rehearse_all() -> None:
    async with grpc.aio.insecure_channel("unix:/nowhere") as channel:
        channel.get_state(try_to_connect=True)
        await _rehearse()


def _compile_routes() -> None:
    """Fills Python's cache of compiled patterns: those of the HTTP routes take a tenth of a scheduler's start."""
    from distributed.http.routing import RoutingApplication
    from distributed.http.utils import get_handlers

    for role in ("scheduler", "worker"):
        RoutingApplication(get_handlers(None, dask.config.get(f"distributed.{role}.http.routes"), prefix="/"))
