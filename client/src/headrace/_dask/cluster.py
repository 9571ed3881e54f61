"""`GatewayCluster`: one cluster, in the shape that Dask's users and tools know."""

from __future__ import annotations

import asyncio
import atexit
import sys
import traceback
import warnings
import weakref
from collections.abc import Awaitable, Generator, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from dask.utils import parse_timedelta
from distributed import Client
from distributed.comm.core import FatalCommClosedError
from distributed.core import Status, rpc
from distributed.deploy.cluster import Cluster
from distributed.utils import NoOpAwaitable
from tornado.ioloop import IOLoop

from headrace._dask import cluster_view
from headrace._dask.cluster_changing import ClusterChanging
from headrace._dask.cluster_reading import ClusterReading
from headrace._dask.culling_widget import KEEP_HOURS, KeepButton, add_keep_button
from headrace._dask.faces import Asynchronous, Mode, both_faces, briefly, returns_either
from headrace._dask.lifecycle import STOP_SECONDS, Existing, Lifecycle
from headrace._dask.missing_workers import why_missing
from headrace._dask.options import Options
from headrace._dask.progress import Progress
from headrace._dask.security import GatewaySecurity
from headrace._dask.session import Session
from headrace._dask.specification import Lifetime, WorkerGroups, wanted_cluster, worker_count
from headrace._dask.state import State
from headrace._target.auth import GatewayAuth
from headrace._target.target import Target
from headrace._wire.creating import Wanted
from headrace.access import Share
from headrace.arguments import checked
from headrace.errors import GatewayWarning, HeadraceError, InvalidRequest, Violation

if TYPE_CHECKING:
    from headrace import Gateway

_EXIT_SECONDS = 10.0


class GatewayCluster(ClusterChanging[Asynchronous], ClusterReading[Asynchronous], Cluster):
    """A cluster of headrace. The constructor creates it and waits until it can be used.

    It is the same as ``Gateway(...).new_cluster(...)``; for a cluster that exists see `from_name`.

    Parameters
    ----------
    address, proxy_address, public_address, auth, asynchronous, loop
        As for `Gateway`.
    cluster_options, shutdown_on_close, name, profile, worker_groups, tags, lifetime, shares, queue_timeout,
    timeout, **kwargs
        As for `Gateway.new_cluster`.

    Raises
    ------
    HeadraceError
        As for `Gateway` and `Gateway.new_cluster`.

    Attributes
    ----------
    name
        Id of the cluster.
    status
        State of this object: "created", "starting", "running", "closing" or "closed". It equals the
        `distributed.core.Status` of that name, too.
    scheduler_info
        What the scheduler reports about itself and its workers, kept up to date.
    security
        For a `distributed.Client` that is made without `get_client`.
    shutdown_on_close
        Whether `close` stops the cluster. None until it is known whether this object created it.
    """

    _instances: ClassVar[weakref.WeakSet[GatewayCluster[Any]]] = weakref.WeakSet()

    @checked
    def __init__(  # noqa: PLR0917 - the order of dask-gateway's arguments
        self,
        address: str | None = None,
        proxy_address: str | int | None = None,
        public_address: str | None = None,
        auth: GatewayAuth | str | type[GatewayAuth] | None = None,
        cluster_options: Options | Mapping[str, object] | None = None,
        shutdown_on_close: bool | None = None,
        asynchronous: Asynchronous = False,
        loop: IOLoop | None = None,
        *,
        name: str | None = None,
        profile: str | None = None,
        worker_groups: WorkerGroups | None = None,
        tags: Mapping[str, str] | None = None,
        lifetime: Lifetime | None = None,
        shares: Iterable[Share] | None = None,
        queue_timeout: Lifetime | None = None,
        timeout: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        wanted = wanted_cluster(
            cluster_options,
            kwargs,
            name=name,
            profile=profile,
            worker_groups=worker_groups,
            tags=tags,
            lifetime=lifetime,
            shares=shares,
            queue_timeout=queue_timeout,
        )
        session = Session(Target.resolve(address, proxy_address, public_address, auth), loop, asynchronous=asynchronous)
        self._begin(session, wanted, shutdown_on_close, timeout)

    @classmethod
    @checked
    def from_name(  # noqa: PLR0917 - the order of dask-gateway's arguments
        cls,
        cluster_name: str,
        shutdown_on_close: bool = False,
        address: str | None = None,
        proxy_address: str | int | None = None,
        public_address: str | None = None,
        auth: GatewayAuth | str | type[GatewayAuth] | None = None,
        asynchronous: Mode = False,
        loop: IOLoop | None = None,
        timeout: float | str | None = None,
    ) -> GatewayCluster[Mode]:
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

        Raises
        ------
        HeadraceError
            As for `Gateway` and `Gateway.connect`.
        """
        target = Target.resolve(address, proxy_address, public_address, auth)
        session = Session(target, loop, asynchronous=asynchronous)
        return cls._on_session(session, Existing(cluster_name), shutdown_on_close, timeout)

    @classmethod
    def _on_session(
        cls, session: Session, origin: Wanted | Existing, shutdown_on_close: bool | None, timeout: float | str | None
    ) -> GatewayCluster[Any]:
        """Make the object on a session of its own."""
        cluster = cls.__new__(cls)
        cluster._begin(session, origin, shutdown_on_close, timeout)
        return cluster

    def _begin(
        self, session: Session, origin: Wanted | Existing, shutdown_on_close: bool | None, timeout: float | str | None
    ) -> None:
        self._session = session
        self._asynchronous = session.asynchronous
        self._progress = Progress()
        self._is_drawn = False
        try:
            self._life = Lifecycle(
                session,
                origin,
                shutdown_on_close=shutdown_on_close,
                timeout=timeout,
                report=self._progress.report,
            )
        except BaseException:  # a setting is wrong
            session.stop_loop()
            raise
        Cluster.__init__(self, asynchronous=self._asynchronous, loop=session.loop, quiet=True)
        self._instances.add(self)
        if not self.asynchronous and not self._asynchronous:
            self._start_and_wait(origin)

    def _start_and_wait(self, origin: Wanted | Existing) -> None:
        """Start the cluster from a thread that may wait, and show the progress there."""
        future = asyncio.run_coroutine_threadsafe(self._life.start(), self._session.asyncio_loop)
        try:
            self._progress.wait_for(future)
        except KeyboardInterrupt:
            if isinstance(origin, Wanted):
                print("Interrupted: stopping the cluster that was being started", file=sys.stderr, flush=True)
            future.cancel()
            with suppress(HeadraceError, TimeoutError):
                self.sync(self._life.close, callback_timeout=STOP_SECONDS)
            self._session.stop_loop()
            raise
        except BaseException:
            self._session.stop_loop()
            raise

    # Work

    @checked
    def get_client(self, set_as_default: bool = True) -> Client:
        """Return a new Dask client of the cluster.

        Parameters
        ----------
        set_as_default
            Whether Dask's collections compute on it from now on.

        Returns
        -------
        distributed.Client
            With ``asynchronous=True`` it connects when it is awaited or entered with ``async with``.

        Raises
        ------
        ClusterNotFound, ClusterEnded, PermissionDenied
            The cluster is not shared with you any more, or it has ended.
        """
        self._session.check_process()
        client = Client.__new__(Client)
        try:
            client.__init__(
                self,
                security=self.security,
                set_as_default=set_as_default,
                asynchronous=self._asynchronous,
                loop=self.loop,
            )
        except BaseException as error:
            # Dask closes a client that cannot connect, and goes on counting it as a user of the loop.
            if (runner := getattr(client, "_loop_runner", None)) is not None:
                runner.stop()
            if isinstance(error, FatalCommClosedError) and isinstance(error.__cause__, HeadraceError):
                raise error.__cause__ from None
            raise
        self._life.clients.add(client)
        return client

    @both_faces
    async def wait_for_workers(self, n_workers: int, timeout: float | str | timedelta | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - a method with two faces
        """Wait until this number of workers runs.

        Parameters
        ----------
        n_workers
            Number of workers.
        timeout
            Seconds to wait, or text such as "5m". Default: no limit.

        Raises
        ------
        TimeoutError
            Fewer workers run after `timeout`.
        """
        feed = self._life.feed
        assert feed is not None, "the cluster runs"
        limit = _seconds(timeout)
        try:
            async with asyncio.timeout(limit):
                await feed.wait_for(worker_count("n_workers", n_workers))
        except TimeoutError:
            arrived = feed.count_running()
            why = await why_missing(self._session.connection, self.name, n_workers, feed.states())
            raise TimeoutError(f"only {arrived} of {n_workers} workers arrived within {limit:.3g} s{why}") from None

    # Views

    @property
    def gateway(self) -> Gateway[Asynchronous]:
        """A new Gateway for the headrace of this cluster, to be closed by itself."""
        from headrace import Gateway

        target = self._session.target
        return Gateway(
            target.address,
            target.proxy_address,
            target.public_address,
            target.auth,
            asynchronous=cast("Asynchronous", self._asynchronous),
            loop=self.loop if self._asynchronous else None,
            tls_ca_file=target.ca_file,
        )

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride] - cannot be set
        """Id of the cluster; "?" until it is known."""
        return self._life.name

    @property
    def shutdown_on_close(self) -> bool | None:
        """Whether `close` stops the cluster."""
        return self._life.shutdown_on_close

    @shutdown_on_close.setter
    @checked
    def shutdown_on_close(self, shutdown: bool) -> None:
        self._life.shutdown_on_close = shutdown

    @property
    def security(self) -> GatewaySecurity:
        """For a `distributed.Client` that is made without `get_client`."""
        return self._life.security

    @property
    def scheduler_address(self) -> str:
        """``gateway://`` address of the scheduler."""
        return self._life.scheduler_address or "<Not Connected>"

    # Dask's constructor sets the following attributes. Their values are the lifecycle's.

    @property
    def status(self) -> State:
        """State of this object: equal to a `distributed.core.Status` and to its text."""
        return State(self._life.status.value)

    @status.setter
    def status(self, status: object) -> None: ...

    @property
    def scheduler_info(self) -> dict[str, Any]:
        """What the scheduler reports about itself and its workers."""
        return self._life.scheduler_info

    @scheduler_info.setter
    def scheduler_info(self, info: dict[str, Any]) -> None: ...

    @property
    def scheduler_comm(self) -> rpc | None:
        """Connection to the scheduler."""
        return self._life.scheduler

    @scheduler_comm.setter
    def scheduler_comm(self, comm: rpc | None) -> None: ...

    @property
    def dashboard_link(self) -> str:
        """A link that opens the dashboard in one browser, within some minutes; "" if there is none.

        Read it again for another browser: it is a new one each time, but for some seconds. If this object is
        asynchronous, a new one is fetched in the background, for the next time.
        """
        link = self._life.dashboard
        if link is None:
            return ""
        if not link.is_good(for_view=self._is_drawn):
            if self.asynchronous or self._asynchronous:
                asyncio.run_coroutine_threadsafe(link.refresh(), self._session.asyncio_loop)
            else:
                self.sync(link.refresh)
        return link.url

    def _repr_html_(self, cluster_status: object = None) -> str:
        self._is_drawn = True
        try:
            link = self.dashboard_link
            text: str = super()._repr_html_(cluster_status or cluster_view.rows(self._life))
        finally:
            self._is_drawn = False
        return cluster_view.with_short_link(text, link)

    def _scaling_status(self) -> str:
        return cluster_view.scaling_table(self._life)

    def _widget(self) -> Any:
        is_new = getattr(self, "_cached_widget", None) is None
        panel: Any = super()._widget()
        if is_new and panel is not None:
            button = KeepButton(
                lambda: asyncio.run_coroutine_threadsafe(self._life.keep_up_to(KEEP_HOURS), self._session.asyncio_loop)
            )
            add_keep_button(panel, button)
            self._life.notices.on_change(button.show)
        return panel

    def __repr__(self) -> str:
        return cluster_view.line(self._life)

    # The end

    @returns_either
    def close(self, shutdown: bool | None = None, timeout: float | None = None) -> Awaitable[None] | None:  # pyright: ignore[reportIncompatibleMethodOverride] - dask-gateway's argument comes first
        """Close this object.

        Parameters
        ----------
        shutdown
            Whether to stop the cluster (StopCluster). Default: `shutdown_on_close`.
        timeout
            Seconds that it may take.

        Raises
        ------
        TimeoutError
            It took longer than `timeout`.
        """
        return self._end(shutdown, timeout)

    @returns_either
    def shutdown(self) -> Awaitable[None] | None:
        """Stop the cluster: ``close(shutdown=True)``."""
        return self._end(shutdown=True)

    def _end(self, shutdown: bool | None = None, timeout: float | None = None) -> Awaitable[None] | None:
        if self._life.status == Status.closed or self._session.inherited:
            return NoOpAwaitable() if self._asynchronous else None
        if self.asynchronous:
            return self._close(shutdown)
        for client in list(self._life.clients):
            client.close()
        if self._session.asyncio_loop.is_running():
            self.sync(self._close, shutdown, callback_timeout=timeout)
        self._session.stop_loop()
        return None

    async def _close(self, shutdown: bool | None = None) -> None:
        self._instances.discard(self)
        for callback in self.periodic_callbacks.values():
            callback.stop()
        await self._life.close(shutdown)

    def __await__(self) -> Generator[Any, Any, Self]:
        return self.__aenter__().__await__()

    def __aenter__(self) -> CoroutineType[Any, Any, Self]:
        return briefly(self._enter())

    async def _enter(self) -> Self:
        if self._life.status in {Status.created, Status.starting}:
            await self._progress.follow(self._life.start())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._close()

    def __enter__(self) -> Self:
        if self._asynchronous:
            raise TypeError("a GatewayCluster with asynchronous=True is used in `async with`")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end()

    def __del__(self, _warn: object = warnings.warn) -> None:
        if "_life" not in vars(self) or self._asynchronous:  # its constructor failed, or its loop belongs to the user
            return
        if self._life.status == Status.closed or self._session.inherited or sys.is_finalizing():
            return
        with suppress(RuntimeError, TimeoutError):
            if not self.asynchronous:
                self._end(timeout=STOP_SECONDS)
            else:
                self._session.close_from_loop(self._close())


def _seconds(timeout: float | str | timedelta | None) -> float | None:
    try:
        return None if timeout is None else parse_timedelta(timeout)
    except (ValueError, KeyError):
        raise InvalidRequest.of(
            Violation("timeout", f"must be a time such as 30 or '5m', is {timeout!r:.80}")
        ) from None


@atexit.register
def _close_all() -> None:
    """Clusters that end with their objects end with the process at the latest."""
    for cluster in list(GatewayCluster._instances):  # pyright: ignore[reportPrivateUsage]
        if cluster._asynchronous:  # pyright: ignore[reportPrivateUsage]
            continue
        try:
            cluster.close(timeout=_EXIT_SECONDS)
        except Exception as error:  # noqa: BLE001 - the others are closed as well
            lines = traceback.format_exception_only(error)
            warnings.warn(f"{cluster!r} was not closed: {''.join(lines)}", GatewayWarning, stacklevel=1)
