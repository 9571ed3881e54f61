"""`GatewayCluster`: one cluster, in the shape that Dask's users and tools know."""

from __future__ import annotations

import asyncio
import atexit
import inspect
import logging
import sys
import traceback
import uuid
import warnings
import weakref
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

from distributed import Client
from distributed.core import Status, rpc
from distributed.deploy.cluster import Cluster
from distributed.objects import SchedulerInfo
from distributed.utils import NoOpAwaitable
from tornado.ioloop import IOLoop

from headrace import _calls, _creation, _watch, _workers
from headrace._auth import GatewayAuth
from headrace._connection import Connection
from headrace._dashboard import DashboardLink
from headrace._gateway import DEFAULT_GROUP, Gateway, gateway_of, start_timeout
from headrace._options import Options
from headrace._progress import Progress
from headrace._security import GatewaySecurity, SchedulerAccess
from headrace._session import Session
from headrace._target import Target
from headrace.errors import GatewayWarning, HeadraceError
from headrace.v1 import cluster_pb2

logger = logging.getLogger("distributed.client")

_STOP_SECONDS = 10.0
_HANDSHAKE_SECONDS = 0.5
_LATER_SECONDS = 0.1
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


class GatewayCluster(Cluster):
    """A cluster of headrace: makes one and waits until it can be used.

    The same as ``Gateway(...).new_cluster(...)``; for one that there is already see `from_name`.

    Parameters
    ----------
    address, proxy_address, public_address, auth, asynchronous, loop
        As for `Gateway`.
    cluster_options, shutdown_on_close, name, worker_groups, tags, timeout, **kwargs
        As for `Gateway.new_cluster`.

    Attributes
    ----------
    name
        Id of the cluster.
    status
        State of this object (`distributed.core.Status`): created, starting, running, closing or closed.
    scheduler_info
        What the scheduler tells about itself and its workers, kept up to date.
    security
        For a `distributed.Client` that is made without `get_client`.
    shutdown_on_close
        Whether `close` stops the cluster.
    """

    _instances: ClassVar[weakref.WeakSet[GatewayCluster]] = weakref.WeakSet()
    gateway: Gateway
    security: GatewaySecurity
    shutdown_on_close: bool | None

    def __init__(  # noqa: PLR0917 - the order of dask-gateway's arguments
        self,
        address: str | None = None,
        proxy_address: str | int | None = None,
        public_address: str | None = None,
        auth: GatewayAuth | str | type[GatewayAuth] | None = None,
        cluster_options: Options | Mapping[str, object] | None = None,
        shutdown_on_close: bool | None = None,
        asynchronous: bool = False,
        loop: IOLoop | None = None,
        *,
        name: str | None = None,
        worker_groups: _creation.WorkerGroups | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        spec = _creation.specification(cluster_options, kwargs, name=name, worker_groups=worker_groups, tags=tags)
        target = Target.resolve(address, proxy_address, public_address, auth)
        self._begin(Session(target, loop, asynchronous=asynchronous), New(spec), shutdown_on_close, timeout)

    @classmethod
    def from_name(  # noqa: PLR0917 - the order of dask-gateway's arguments
        cls,
        cluster_name: str,
        shutdown_on_close: bool = False,
        address: str | None = None,
        proxy_address: str | int | None = None,
        public_address: str | None = None,
        auth: GatewayAuth | str | type[GatewayAuth] | None = None,
        asynchronous: bool = False,
        loop: IOLoop | None = None,
        timeout: float | str | None = None,
    ) -> Self:
        """Connect to a cluster that runs or is starting.

        Parameters
        ----------
        cluster_name
            Its id, or the name that you gave it.
        shutdown_on_close
            Whether the cluster ends with the returned object.
        address, proxy_address, public_address, auth, asynchronous, loop
            As for `Gateway`.
        timeout
            As for `Gateway.new_cluster`.
        """
        target = Target.resolve(address, proxy_address, public_address, auth)
        session = Session(target, loop, asynchronous=asynchronous)
        self = cls.__new__(cls)
        self._begin(session, Existing(cluster_name), shutdown_on_close, timeout)
        return self

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
        if isinstance(self._origin, Existing):
            await self._follow()
        else:
            # A new cluster has no workers yet: the news of them must not delay its first client.
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
        self.scheduler_comm = rpc(self._scheduler_address, connection_args=self.security.get_connection_args("client"))
        for group in cluster.spec.worker_groups:
            self._scaling[group.name] = _scaling_mode(group)
        self.status = Status.running

    async def _follow(self, later: float = 0.0) -> None:
        """Begins to follow the scheduler's workers. Without success the cluster can be used all the same."""
        try:
            await self._access.ready()
            await asyncio.sleep(later)
            self._subscribing = True
            comm, self.scheduler_info = await _workers.subscribe(self.scheduler_comm)
        except (OSError, HeadraceError) as error:
            logger.warning("headrace cannot follow the workers of cluster %s: %s", self.name, error)
            return
        self._workers_changed.set()
        self._watching = asyncio.ensure_future(_workers.follow(weakref.ref(self), comm))
        if self._asynchronous and self._dashboard is not None:
            await self._dashboard.refresh()

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

    def close(self, shutdown: bool | None = None, timeout: float | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - dask-gateway's argument comes first
        """Let go of the cluster.

        Parameters
        ----------
        shutdown
            Whether to stop the cluster. Default: `shutdown_on_close`.
        timeout
            Seconds that it may take.
        """
        if self.status == Status.closed:
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
        if self.status == Status.closed or sys.is_finalizing():
            return
        with suppress(RuntimeError, TimeoutError):
            if not self.asynchronous:
                self.close(timeout=_STOP_SECONDS)
            else:
                self._session.leave_from_loop(self._close())

    # Work

    def get_client(self, set_as_default: bool = True) -> Client:
        """Return a new client of this cluster.

        Parameters
        ----------
        set_as_default
            Whether Dask's collections compute on it from now on.

        Returns
        -------
        distributed.Client
            With ``asynchronous=True`` to be awaited.
        """
        client = Client(
            self,
            security=self.security,
            set_as_default=set_as_default,
            asynchronous=self._asynchronous,
            loop=self.loop,
        )
        self._clients.add(client)
        return client

    def scale(self, n: int, group: str = DEFAULT_GROUP) -> Any:
        """Ask for a number of workers; returns before they run. Ends adaptive scaling of the group.

        Parameters
        ----------
        n
            Number of workers wanted, 0 to the limits that bind you.
        group
            Group of workers to change.

        Raises
        ------
        QuotaExceeded
            More than you may have. Nothing was changed.
        """
        result = self.gateway.scale_cluster(self.name, n, group)
        self._scaling[group] = "Manual"
        return result

    def adapt(  # pyright: ignore[reportIncompatibleMethodOverride] - adapts in the scheduler, not here, as dask-gateway does
        self, minimum: int | None = None, maximum: int | None = None, active: bool = True, group: str = DEFAULT_GROUP
    ) -> Any:
        """Let the number of workers follow the load.

        Parameters
        ----------
        minimum
            Never fewer workers than this. Default: 0.
        maximum
            Never more workers than this. Default: as many as your limits allow.
        active
            False ends it; the workers that run stay.
        group
            Group of workers to change.
        """
        result = self.gateway.adapt_cluster(self.name, minimum, maximum, active, group)
        self._scaling[group] = "Adaptive" if active else "Manual"
        return result

    def logs(self, process: str | None = None, tail: int | None = None, follow: bool = False) -> Any:
        """Read the logs of the cluster's processes; see `Gateway.logs`."""
        return self.gateway.logs(self.name, process, tail, follow)

    def events(self) -> Any:
        """Tell what happened to the cluster; a list of ClusterEvent."""
        return self.gateway.events(self.name)

    def workers(self) -> Any:
        """List the workers as headrace knows them, also those that have not joined yet; a list of Worker."""
        return self.gateway.workers(self.name)

    def report(self) -> Any:
        """Report on the cluster: phase, worker groups, reason of its end; a ClusterReport."""
        return self.gateway.get_cluster(self.name)

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

    # Views

    @property
    def scheduler_address(self) -> str:
        """``gateway://`` address of the scheduler."""
        return self._scheduler_address or "<Not Connected>"

    @property
    def dashboard_link(self) -> str:
        """A link that opens the dashboard in a browser, good for some minutes; "" if there is none (yet)."""
        link = self._dashboard
        if link is None:
            return ""
        if not link.fresh:
            if self.asynchronous or self._asynchronous:
                asyncio.run_coroutine_threadsafe(link.refresh(), self._session.asyncio_loop)
            else:
                self.sync(link.refresh)
        return link.url

    def _scaling_status(self) -> str:
        workers = len(self.scheduler_info["workers"])
        modes = "".join(f"<tr><td>{group}: {mode}</td></tr>" for group, mode in sorted(self._scaling.items()))
        return f"<table>{modes}<tr><td>Workers: {workers}</td></tr></table>"

    def __repr__(self) -> str:
        workers = self.scheduler_info["workers"].values()
        threads = sum(worker["nthreads"] for worker in workers)
        return f"GatewayCluster<{self.name}, {self.status.name}, workers={len(workers)}, threads={threads}>"


def make(
    session: Session, origin: New | Existing, shutdown_on_close: bool | None, timeout: float | str | None
) -> GatewayCluster:
    """Makes the object on a session of its own."""
    cluster = GatewayCluster.__new__(GatewayCluster)
    cluster._begin(session, origin, shutdown_on_close, timeout)  # pyright: ignore[reportPrivateUsage] - a constructor that users need not see
    return cluster


def _is_new(cluster: cluster_pb2.Cluster) -> bool:
    return cluster.status.phase in {
        cluster_pb2.PHASE_UNSPECIFIED,
        cluster_pb2.PHASE_QUEUED,
        cluster_pb2.PHASE_STARTING,
    }


def _scaling_mode(group: cluster_pb2.WorkerGroup) -> str:
    return "Adaptive" if group.HasField("adapt") else "Manual"


@atexit.register
def _close_all() -> None:
    """Clusters that end with their objects end with the process at the latest."""
    for cluster in list(GatewayCluster._instances):  # pyright: ignore[reportPrivateUsage]
        if cluster._asynchronous:  # pyright: ignore[reportPrivateUsage]
            continue
        try:
            cluster.close(timeout=_STOP_SECONDS)
        except Exception as error:  # noqa: BLE001 - each of them gets its chance
            lines = traceback.format_exception_only(error)
            warnings.warn(f"{cluster!r} was not closed: {''.join(lines)}", GatewayWarning, stacklevel=1)
