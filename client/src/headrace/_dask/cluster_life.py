"""The life of a cluster object: it starts, follows its workers, and closes once, in both faces."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import uuid
import warnings
import weakref
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

from distributed import Client
from distributed.core import Status, rpc
from distributed.deploy.cluster import Cluster
from distributed.objects import SchedulerInfo
from distributed.utils import NoOpAwaitable

from headrace._dask import comm
from headrace._dask import workers as _workers
from headrace._dask.dashboard import DashboardLink
from headrace._dask.gateway import Gateway, gateway_of, start_timeout
from headrace._dask.progress import Progress
from headrace._dask.security import GatewaySecurity, SchedulerAccess
from headrace._wire import calls as _calls
from headrace._wire import watch as _watch
from headrace._wire.connection import Connection
from headrace._wire.session import Session
from headrace.errors import HeadraceError
from headrace.v1 import cluster_pb2

logger = logging.getLogger("distributed.client")

_STOP_SECONDS = 10.0
_HANDSHAKE_SECONDS = 0.5
_LATER_SECONDS = 1.0
_FIRST_LOOK_SECONDS = 0.005
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class New:
    """A cluster to make, or the living one that has its alias."""

    spec: cluster_pb2.ClusterSpec


@dataclass(frozen=True, slots=True)
class Existing:
    """A cluster that there is, by id or alias."""

    name: str


class ClusterLife(Cluster):
    """Everything of `GatewayCluster` but its constructors and what users ask of it."""

    _instances: ClassVar[weakref.WeakSet[ClusterLife]] = weakref.WeakSet()
    gateway: Gateway
    security: GatewaySecurity
    shutdown_on_close: bool | None

    def _begin(
        self, session: Session, origin: New | Existing, shutdown_on_close: bool | None, timeout: float | str | None
    ) -> None:
        self.gateway = gateway_of(session)
        self._session = session
        self._asynchronous = session.asynchronous
        super().__init__(asynchronous=self._asynchronous, loop=session.loop, quiet=True, name="?")
        self._origin = origin
        self._timeout = start_timeout(timeout)
        self.shutdown_on_close = shutdown_on_close
        self._access = SchedulerAccess(lambda: session.connection, session.asyncio_loop)
        self.security = GatewaySecurity(self._access)
        self._scheduler_address = ""
        self._dashboard: DashboardLink | None = None
        self._scaling: dict[str, str] = {}
        self._clients: weakref.WeakSet[Client] = weakref.WeakSet()
        self._workers_changed = asyncio.Event()
        self._workers_wanted = asyncio.Event()
        self._creating: asyncio.Task[cluster_pb2.Cluster] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self._subscribing = False
        self._watching: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._progress = Progress()
        self._instances.add(self)
        if not self.asynchronous and not self._asynchronous:
            self._start_and_wait()

    # Start

    def _start_and_wait(self) -> None:
        """Starts it from a thread that may wait, and shows there what is going on."""
        future = asyncio.run_coroutine_threadsafe(self._start(), self._session.asyncio_loop)
        try:
            self._progress.wait_for(future)
        except KeyboardInterrupt:
            if isinstance(self._origin, New):
                print("Interrupted: stopping the cluster that was being started", file=sys.stderr, flush=True)
            future.cancel()
            with suppress(HeadraceError, TimeoutError):
                self.sync(self._give_up, callback_timeout=_STOP_SECONDS)
            self._session.stop_loop()
            raise
        except BaseException:
            self._session.stop_loop()
            raise

    async def _start(self) -> None:
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start_once())
        try:
            await self._starting
        except BaseException:
            await self._give_up()
            raise

    async def _start_once(self) -> None:
        self.status = Status.starting
        connection = self._session.connection
        cluster = await self._find_or_make(connection)
        self.name = cluster.name.partition("/")[2]
        self._access.cluster = self.name
        early = asyncio.ensure_future(self._access.ready()) if self._access.mode == "proxied" else None
        try:
            cluster = await _watch.wait_until_running(connection, cluster, self._progress.say, self._timeout)
            if early is not None:
                await early
        finally:
            if early is not None:
                early.cancel()
        self._take(connection, cluster)
        if self._asynchronous and self._dashboard is not None:
            await self._dashboard.refresh()  # a property cannot wait for it
        if isinstance(self._origin, Existing):
            await self._follow(0.0)
        else:
            # A new cluster has no workers yet: the news of them must not delay its first client, nor other clusters.
            self._following = asyncio.ensure_future(self._follow(_LATER_SECONDS))

    async def _find_or_make(self, connection: Connection) -> cluster_pb2.Cluster:
        if isinstance(self._origin, Existing):
            return await _calls.find(connection, self._origin.name)
        if self._creating is None:
            request_id = uuid.uuid4().hex
            self._creating = asyncio.ensure_future(_calls.create(connection, self._origin.spec, request_id))
        cluster = await asyncio.shield(self._creating)
        if self.shutdown_on_close is None:
            self.shutdown_on_close = _is_new(cluster)
        return cluster

    def _take(self, connection: Connection, cluster: cluster_pb2.Cluster) -> None:
        self._scheduler_address = f"{self.gateway.proxy_address}/{self.name}"
        self._dashboard = DashboardLink(connection, self.name, cluster.status.dashboard_path)
        comm.register()
        self.scheduler_comm = rpc(self._scheduler_address, connection_args=self.security.get_connection_args("client"))
        for group in cluster.spec.worker_groups:
            self._scaling[group.name] = _scaling_mode(group)
        self.status = Status.running

    async def _follow(self, later: float) -> None:
        """Begins to follow the scheduler's workers, after a while or when somebody waits for some.

        Without success the cluster can be used all the same.
        """
        try:
            await self._access.ready()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._workers_wanted.wait(), later)
            self._subscribing = True
            stream, self.scheduler_info = await _workers.subscribe(self.scheduler_comm)
        except (OSError, HeadraceError) as error:
            logger.warning("headrace cannot follow the workers of cluster %s: %s", self.name, error)
            return
        self._workers_changed.set()
        self._watching = asyncio.ensure_future(_workers.follow(weakref.ref(self), stream))

    # End

    async def _give_up(self) -> None:
        """The start failed or was broken off: nothing of it may stay."""
        if self._creating is not None and self.name == "?":
            with suppress(HeadraceError, TimeoutError, asyncio.CancelledError):
                cluster = await asyncio.wait_for(asyncio.shield(self._creating), _STOP_SECONDS)
                self.name = cluster.name.partition("/")[2]
        await self._close(shutdown=isinstance(self._origin, New) and self.shutdown_on_close is not False)

    async def _close(self, shutdown: bool | None = None) -> None:
        """Closes once, however many ask for it at once; one that stops waiting does not stop it."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close_once(shutdown))
        await asyncio.shield(self._closing)

    async def _close_once(self, shutdown: bool | None) -> None:
        self.status = Status.closing
        self._instances.discard(self)
        await self._end_tasks()
        for client in list(self._clients):
            closing: object = client.close()
            if inspect.isawaitable(closing):
                await closing
        for callback in self.periodic_callbacks.values():
            callback.stop()
        if self._scheduler_address:
            await self.scheduler_comm.close_rpc()
        if (self.shutdown_on_close if shutdown is None else shutdown) and self.name != "?":
            await self._stop_cluster()
        self.status = Status.closed
        await self._session.cleanup()

    async def _end_tasks(self) -> None:
        if self._starting is not None and self._starting is not asyncio.current_task():
            self._starting.cancel()
        if self._following is not None:
            if self._subscribing:
                # Broken off within a TLS handshake, Tornado would leave the socket to the garbage collector.
                await asyncio.wait([self._following], timeout=_HANDSHAKE_SECONDS)
            self._following.cancel()
        if self._watching is not None:
            self._watching.cancel()

    async def _stop_cluster(self) -> None:
        try:
            await _calls.stop(self._session.connection, self.name, _STOP_SECONDS)
        except HeadraceError as error:
            logger.warning("cluster %s could not be stopped and may still run: %s", self.name, error)

    def sync(self, func: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        self._session.check_process()
        return super().sync(func, *args, **kwargs)

    def close(self, shutdown: bool | None = None, timeout: float | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - dask-gateway's argument comes first
        """Let go of the cluster.

        Parameters
        ----------
        shutdown
            Whether to stop the cluster. Default: `shutdown_on_close`.
        timeout
            Seconds that it may take.
        """
        if self.status == Status.closed or self._session.inherited:
            return NoOpAwaitable() if self._asynchronous else None
        if self.asynchronous:
            return self._close(shutdown)
        for client in list(self._clients):
            client.close()
        if self._session.asyncio_loop.is_running():
            self.sync(self._close, shutdown, callback_timeout=timeout)
        self._session.stop_loop()
        return None

    def shutdown(self) -> Any:
        """Stop the cluster: ``close(shutdown=True)``."""
        return self.close(shutdown=True)

    def __await__(self) -> Generator[Any, Any, Self]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        if self.status == Status.created:
            await self._progress.follow(self._start())
        elif self.status == Status.starting and self._starting is not None:
            await asyncio.shield(self._starting)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._close()

    def __enter__(self) -> Self:
        if self._asynchronous:
            raise TypeError("a GatewayCluster with asynchronous=True is used in `async with`")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self, _warn: object = warnings.warn) -> None:
        if not hasattr(self, "_progress") or self._asynchronous:  # not even begun, or its loop is somebody else's
            return
        if self.status == Status.closed or self._session.inherited or sys.is_finalizing():
            return
        with suppress(RuntimeError, TimeoutError):
            if not self.asynchronous:
                self.close(timeout=_STOP_SECONDS)
            else:
                self._session.leave_from_loop(self._close())

    # Workers

    async def _wait_for_workers(self, n_workers: int = 0, timeout: float | None = None) -> None:
        from dask.utils import parse_timedelta

        limit = None if timeout is None else parse_timedelta(timeout)
        try:
            async with asyncio.timeout(limit):
                await self._until(n_workers)
        except TimeoutError:
            running = self._running_workers()
            raise TimeoutError(f"only {running} of {n_workers} workers arrived within {limit:.3g} s") from None

    async def _until(self, n_workers: int) -> None:
        """Listens, and looks: the stream tells of arrivals, but not of workers that become ready."""
        self._workers_wanted.set()
        pause = _FIRST_LOOK_SECONDS
        while self._running_workers() < n_workers:
            if len(self.scheduler_info["workers"]) < n_workers:
                self._workers_changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._workers_changed.wait(), _LOOK_SECONDS)
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LOOK_SECONDS)
            self.scheduler_info = SchedulerInfo(await cast("Any", self.scheduler_comm).identity())

    def _running_workers(self) -> int:
        workers = self.scheduler_info["workers"].values()
        return sum(1 for worker in workers if worker["status"] == "running")


def _is_new(cluster: cluster_pb2.Cluster) -> bool:
    return cluster.status.phase in {
        cluster_pb2.PHASE_UNSPECIFIED,
        cluster_pb2.PHASE_QUEUED,
        cluster_pb2.PHASE_STARTING,
    }


def _scaling_mode(group: cluster_pb2.WorkerGroup) -> str:
    return "Adaptive" if group.HasField("adapt") else "Manual"
