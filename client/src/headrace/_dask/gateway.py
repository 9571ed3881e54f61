"""`Gateway`, the client of headrace: how it is made, makes clusters, and is closed. The rest is in `gateway_*.py`."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Generator, Iterable, Mapping
from contextlib import suppress
from typing import Any, Self

from distributed.utils import NoOpAwaitable
from tornado.ioloop import IOLoop

from headrace._dask.cluster import GatewayCluster
from headrace._dask.faces import Asynchronous, both_faces, returns_either
from headrace._dask.gateway_changing import GatewayChanging
from headrace._dask.gateway_deployment import GatewayDeployment
from headrace._dask.gateway_reading import GatewayReading
from headrace._dask.gateway_usage import GatewayUsage
from headrace._dask.lifecycle import Existing
from headrace._dask.options import Options
from headrace._dask.session import Session
from headrace._dask.specification import Lifetime, WorkerGroups, wanted_cluster
from headrace._target.auth import GatewayAuth
from headrace._target.target import Target
from headrace._wire import calls
from headrace._wire.creating import get_or_create
from headrace.access import Share
from headrace.arguments import checked


class Gateway(
    GatewayReading[Asynchronous],
    GatewayChanging[Asynchronous],
    GatewayUsage[Asynchronous],
    GatewayDeployment[Asynchronous],
):
    """A client of headrace.

    What is not given comes from Dask's configuration below ``headrace``. If no address is configured either, the
    `headrace up` of this machine is used.

    With ``asynchronous=True``, methods return coroutines of what they are documented to return. In annotations,
    `Gateway` is one used plainly and ``Gateway[Literal[True]]`` an asynchronous one.

    Each method may raise `Unauthenticated` (log in again), `Unreachable` (see `headrace doctor`), `DeadlineExceeded`
    (after ``headrace.timeouts.call``) and other subclasses of `GatewayServerError`.

    Parameters
    ----------
    address
        Address of headrace: ``"https://host:port"``.
    proxy_address
        Address through which schedulers are reached: ``"host:port"``, or a port of the same host. Default: `address`.
    public_address
        `address` as a web browser sees it. Default: `address`.
    auth
        How to log in: an object, a class or a name (see `get_auth`).
    asynchronous
        Whether to use it in coroutines, on the running event loop.
    loop
        Event loop of Tornado to use. Default: one in a background thread.
    tls_ca_file
        PEM file of the certificate authority of `address`.

    Raises
    ------
    InvalidRequest
        There is no address, or an argument or a setting is wrong. Whether headrace is at the address shows with the
        first call.
    Unauthenticated
        `auth` needs a token, and none is given.

    Examples
    --------
    >>> gateway = Gateway()  # doctest: +SKIP
    >>> with gateway.new_cluster(worker_memory="8 GiB") as cluster:  # doctest: +SKIP
    ...     cluster.adapt(minimum=0, maximum=40)
    ...     client = cluster.get_client()
    """

    @checked
    def __init__(  # noqa: PLR0917 - the order of dask-gateway's arguments
        self,
        address: str | None = None,
        proxy_address: str | int | None = None,
        public_address: str | None = None,
        auth: GatewayAuth | str | type[GatewayAuth] | None = None,
        asynchronous: Asynchronous = False,
        loop: IOLoop | None = None,
        *,
        tls_ca_file: str | None = None,
    ) -> None:
        target = Target.resolve(address, proxy_address, public_address, auth, tls_ca_file)
        self._session = Session(target, loop, asynchronous=asynchronous)
        self._asynchronous = asynchronous

    # The target

    @property
    def address(self) -> str:
        """Address of headrace."""
        return self._session.target.address

    @property
    def proxy_address(self) -> str:
        """Address through which schedulers are reached, as ``gateway://host:port``."""
        return self._session.target.proxy_address

    @property
    def public_address(self) -> str:
        """`address` as a web browser sees it."""
        return self._session.target.public_address

    @property
    def auth(self) -> GatewayAuth:
        """How to log in."""
        return self._session.target.auth

    @property
    def loop(self) -> IOLoop:
        """The event loop that calls are made on."""
        return self._session.loop

    def __repr__(self) -> str:
        return f"Gateway<{self.address}>"

    # Clusters

    @both_faces
    async def submit(
        self,
        cluster_options: Options | Mapping[str, object] | None = None,
        *,
        name: str | None = None,
        profile: str | None = None,
        worker_groups: WorkerGroups | None = None,
        tags: Mapping[str, str] | None = None,
        lifetime: Lifetime | None = None,
        shares: Iterable[Share] | None = None,
        queue_timeout: Lifetime | None = None,
        owner: str | None = None,
        owner_groups: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> str:
        """Create a cluster without waiting for it (CreateCluster); `connect` to it later.

        Parameters
        ----------
        owner
            User id to create the cluster for. Default: yourself. Other users need an admin.
        owner_groups
            Groups of that user, such as ["lab"], which decide about profiles, options, limits and budgets as if the
            user had created the cluster. Default: those of the newest of their clusters.
        cluster_options, name, profile, worker_groups, tags, lifetime, shares, queue_timeout, **kwargs
            As for `new_cluster`.

        Returns
        -------
        str
            Id of the cluster. If a living cluster has this `name`, its id.

        Raises
        ------
        InvalidRequest, QuotaExceeded, OptionsDiffer, PermissionDenied
            As for `new_cluster`.
        """
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
            owner=owner,
            owner_groups=owner_groups,
        )
        cluster, _ = await get_or_create(self._session.connection, wanted)
        return calls.cluster_id(cluster.name)

    @checked
    def new_cluster(
        self,
        cluster_options: Options | Mapping[str, object] | None = None,
        shutdown_on_close: bool | None = None,
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
    ) -> GatewayCluster[Asynchronous]:
        """Create a cluster and wait until it can be used (CreateCluster, WatchClusters).

        Ctrl-C while waiting stops the cluster, if this call created it.

        Parameters
        ----------
        cluster_options
            Options from `cluster_options`. Default: the setting ``headrace.cluster.options``.
        shutdown_on_close
            Whether the cluster ends with the returned object, at the latest with this process. Default: True if this
            call created the cluster, False if it found a cluster of this `name`.
        name
            Name for the cluster (the API calls it alias), 1 to 63 of a-z, 0-9 and "-". If you have a living cluster of
            that name, it is returned.
        profile
            Key of a profile, as listed by `profiles`. Default: the deployment's default profile.
        worker_groups
            Groups of workers with different shapes: from name to a number of workers, or to a mapping with ``size``,
            ``adapt`` (minimum, maximum) and the options that differ in this group. Default: one group, "default",
            without workers.
        tags
            Labels for cost reports.
        lifetime
            Time after which the cluster is stopped: seconds, text such as "8h", or a timedelta. Default: no maximum.
        shares
            Who else may use the cluster, and how.
        queue_timeout
            Time to wait for room, where what goes over a limit is queued: seconds, text such as "10 min", or a
            timedelta. After it the cluster fails. 0: do not wait, raise QuotaExceeded. Default: the setting
            ``headrace.timeouts.queue``.
        timeout
            Seconds to wait, or text such as "5m", without the wait in the queue. Default: the setting
            ``headrace.timeouts.start``.
        **kwargs
            Options by name, such as ``worker_memory="8 GiB"``. They override `cluster_options`.

        Returns
        -------
        GatewayCluster
            With ``asynchronous=True`` it starts when it is awaited or entered with ``async with``.

        Raises
        ------
        InvalidRequest
            An option is unknown or has a wrong value. Nothing was created.
        QuotaExceeded
            More than you may have. Nothing was created.
        OptionsDiffer
            You have a living cluster of this `name` with other options than those given. Nothing was created.
        AliasTaken
            Your cluster of this `name` is stopping and did not end in time. Nothing was created.
        ClusterFailed
            The cluster did not start; with the reason and the last lines of the log.
        ClusterEnded
            The cluster was stopped while it started.
        DeadlineExceeded
            The cluster did not start in time. If this call created it, it was stopped.
        """
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
        return GatewayCluster._on_session(self._session.clone(), wanted, shutdown_on_close, timeout)  # pyright: ignore[reportPrivateUsage] - a constructor that users do not need

    @checked
    def connect(
        self, cluster_name: str, shutdown_on_close: bool = False, timeout: float | str | None = None
    ) -> GatewayCluster[Asynchronous]:
        """Connect to a cluster that runs or is starting (GetCluster, WatchClusters).

        Parameters
        ----------
        cluster_name
            Its id, the name that you gave it, or owner and name of another user's, such as "ann/analysis".
        shutdown_on_close
            Whether the cluster ends with the returned object.
        timeout
            As for `new_cluster`.

        Returns
        -------
        GatewayCluster
            With ``asynchronous=True`` it connects when it is awaited or entered with ``async with``.

        Raises
        ------
        ClusterNotFound
            There is no such cluster that you may see.
        ClusterEnded, ClusterFailed
            The cluster has ended, or ends while it starts.
        DeadlineExceeded
            The cluster did not start in time. It is left unchanged.
        """
        return GatewayCluster._on_session(self._session.clone(), Existing(cluster_name), shutdown_on_close, timeout)  # pyright: ignore[reportPrivateUsage]

    # The end

    @returns_either
    def close(self) -> Awaitable[None] | None:
        """Close the connection. Clusters run on; `GatewayCluster` objects have connections of their own."""
        return self._end()

    def _end(self) -> Awaitable[None] | None:
        if self._session.closed or self._session.inherited:
            return NoOpAwaitable() if self._asynchronous else None
        if self.asynchronous:
            return self._session.cleanup()
        if self._session.asyncio_loop.is_running():
            self.sync(self._session.cleanup, callback_timeout=5)
        self._session.stop_loop()
        return None

    def __enter__(self) -> Self:
        if self._asynchronous:
            raise TypeError("a Gateway with asynchronous=True is used in `async with`")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if (closing := self._end()) is not None:
            await closing

    def __await__(self) -> Generator[Any, Any, Self]:
        return self.__aenter__().__await__()

    def __del__(self) -> None:
        session: Session | None = getattr(self, "_session", None)
        if session is None or session.closed or session.asynchronous or session.inherited or sys.is_finalizing():
            return
        with suppress(RuntimeError, TimeoutError):  # at the end of the process the loop may be gone
            if self.asynchronous:
                session.close_from_loop(session.cleanup())
            else:
                self._end()
