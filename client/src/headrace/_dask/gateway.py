"""`Gateway`: what users talk to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tornado.ioloop import IOLoop

from headrace._dask import creation as _creation
from headrace._dask import logs as _logs
from headrace._dask.gateway_base import GatewayBase
from headrace._dask.options import Options
from headrace._dask.report import ClusterStatus
from headrace._target import config as _config
from headrace._target.auth import GatewayAuth
from headrace._target.target import Target
from headrace._wire import calls as _calls
from headrace._wire.connection import Connection
from headrace._wire.session import Session

if TYPE_CHECKING:
    from headrace._dask.cluster import GatewayCluster

DEFAULT_GROUP = "default"


class Gateway(GatewayBase):
    """A client of headrace.

    Everything that is not given comes from Dask's configuration below ``headrace``, and from the `headrace up` that
    runs on this machine where nothing is configured. With ``asynchronous=True`` each method returns an awaitable of
    what it says.

    Parameters
    ----------
    address
        Where headrace answers: ``"https://host:port"``.
    proxy_address
        Where schedulers are reached through the proxy: ``"host:port"``, or a port of the same host. Default: `address`.
    public_address
        `address` as a web browser sees it. Default: `address`.
    auth
        How to log in: an object, a class or a name (see `get_auth`).
    asynchronous
        Whether to use it in coroutines, on the running event loop.
    loop
        Event loop of Tornado to use; a background one by default.
    tls_ca_file
        Certificate authority that signed the certificate of `address`, as a PEM file.

    Raises
    ------
    InvalidRequest
        There is no address, or what is configured is wrong. Whether the address is right shows with the first call.

    Examples
    --------
    >>> gateway = Gateway()  # doctest: +SKIP
    >>> with gateway.new_cluster(worker_memory="8 GiB") as cluster:  # doctest: +SKIP
    ...     cluster.adapt(minimum=0, maximum=40)
    ...     client = cluster.get_client()
    """

    def __init__(  # noqa: PLR0917 - the order of dask-gateway's arguments
        self,
        address: str | None = None,
        proxy_address: str | int | None = None,
        public_address: str | None = None,
        auth: GatewayAuth | str | type[GatewayAuth] | None = None,
        asynchronous: bool = False,
        loop: IOLoop | None = None,
        *,
        tls_ca_file: str | None = None,
    ) -> None:
        target = Target.resolve(address, proxy_address, public_address, auth, tls_ca_file)
        self._begin(Session(target, loop, asynchronous=asynchronous))

    # Clusters

    def list_clusters(
        self, status: str | ClusterStatus | Sequence[str | ClusterStatus] | None = None, **kwargs: Any
    ) -> Any:
        """List your clusters, newest first.

        Parameters
        ----------
        status
            Only those that are "pending", "running", "stopping", "stopped" or "failed"; one or several.
            Default: pending and running.

        Returns
        -------
        list of ClusterReport
        """
        return self._do(_calls.list_clusters, status, **kwargs)

    def get_cluster(self, cluster_name: str, **kwargs: Any) -> Any:
        """Report on one cluster, also for some time after its end.

        Parameters
        ----------
        cluster_name
            Its id, or the name that you gave to a living one.

        Returns
        -------
        ClusterReport

        Raises
        ------
        ClusterNotFound
            You have no such cluster.
        """
        return self._do(_calls.get_cluster, cluster_name, **kwargs)

    def submit(
        self,
        cluster_options: Options | Mapping[str, object] | None = None,
        *,
        name: str | None = None,
        worker_groups: _creation.WorkerGroups | None = None,
        tags: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Ask for a new cluster and do not wait for it; `connect` to it later.

        Parameters are those of `new_cluster`.

        Returns
        -------
        str
            Id of the cluster.
        """
        spec = _creation.specification(cluster_options, kwargs, name=name, worker_groups=worker_groups, tags=tags)

        async def submit(connection: Connection) -> str:
            return (await _calls.create(connection, spec)).name.partition("/")[2]

        return self._do(submit)

    def new_cluster(
        self,
        cluster_options: Options | Mapping[str, object] | None = None,
        shutdown_on_close: bool | None = None,
        *,
        name: str | None = None,
        worker_groups: _creation.WorkerGroups | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: float | str | None = None,
        **kwargs: Any,
    ) -> GatewayCluster:
        """Start a new cluster and wait until it can be used.

        Ctrl-C while waiting stops it.

        Parameters
        ----------
        cluster_options
            Options from `cluster_options`. Default: what ``headrace.cluster.options`` configures.
        shutdown_on_close
            Whether the cluster ends with the returned object, at the latest with this process. Default: True if this
            call made the cluster, False if it found one of this `name`.
        name
            A name of your own, 1 to 63 of a-z, 0-9 and "-". If you have a living cluster of that name, it is returned.
        worker_groups
            Groups of workers with different shapes: from name to a number of workers, or to a mapping with ``size``,
            ``adapt`` (minimum, maximum) and options that are different for this group. Default: one group, "default",
            of no workers.
        tags
            Marks for cost reports.
        timeout
            Seconds to wait, or text such as "5m". Default: ``headrace.timeouts.start``.
        **kwargs
            Options by name, such as ``worker_memory="8 GiB"``; they come before `cluster_options`.

        Returns
        -------
        GatewayCluster
            With ``asynchronous=True`` to be awaited, or used in ``async with``.

        Raises
        ------
        InvalidRequest
            An option is unknown or has a wrong value. Nothing was started.
        QuotaExceeded
            More than you may have. Nothing was started.
        ClusterFailed
            It did not start; says why, with the tail of its log.
        DeadlineExceeded
            It did not start in time, and was stopped.
        """
        from headrace._dask.cluster import make
        from headrace._dask.cluster_life import New

        spec = _creation.specification(cluster_options, kwargs, name=name, worker_groups=worker_groups, tags=tags)
        return make(self._session.twin(), New(spec), shutdown_on_close, timeout)

    def connect(
        self, cluster_name: str, shutdown_on_close: bool = False, timeout: float | str | None = None
    ) -> GatewayCluster:
        """Connect to a cluster that runs or is starting.

        Parameters
        ----------
        cluster_name
            Its id, or the name that you gave it.
        shutdown_on_close
            Whether the cluster ends with the returned object.
        timeout
            As for `new_cluster`.

        Returns
        -------
        GatewayCluster
        """
        from headrace._dask.cluster import make
        from headrace._dask.cluster_life import Existing

        return make(self._session.twin(), Existing(cluster_name), shutdown_on_close, timeout)

    def stop_cluster(self, cluster_name: str, **kwargs: Any) -> Any:
        """Stop a cluster; one that has ended already stays as it is."""
        return self._do(_calls.stop, cluster_name, **kwargs)

    def stop_all(self) -> Any:
        """Stop all your clusters.

        Returns
        -------
        list of str
            Ids of those that were alive.
        """
        return self._do(_calls.stop_all)

    def scale_cluster(self, cluster_name: str, n: int, group: str = DEFAULT_GROUP, **kwargs: Any) -> Any:
        """Ask for `n` workers in a group of a cluster, and end its adaptive scaling. Returns before they run.

        Raises
        ------
        QuotaExceeded
            More than you may have. Nothing was changed.
        """
        return self._do(_calls.scale, cluster_name, _creation.worker_count("n", n), group, **kwargs)

    def adapt_cluster(
        self,
        cluster_name: str,
        minimum: int | None = None,
        maximum: int | None = None,
        active: bool = True,
        group: str = DEFAULT_GROUP,
        **kwargs: Any,
    ) -> Any:
        """Let the number of workers in a group of a cluster follow the load.

        Parameters
        ----------
        cluster_name
            Id or name of the cluster.
        minimum
            Never fewer workers than this. Default: 0.
        maximum
            Never more workers than this. Default: as many as your limits allow.
        active
            False ends it; the group keeps the size it has.
        group
            Group of workers.
        """
        bounds = _creation.adapt_range(minimum, maximum) if active else None
        return self._do(_calls.adapt, cluster_name, bounds, group, **kwargs)

    # What there is to know

    def cluster_options(self, use_local_defaults: bool = True, **kwargs: Any) -> Any:
        """Get the options that you may set for a new cluster.

        Parameters
        ----------
        use_local_defaults
            Whether to fill in what ``headrace.cluster.options`` configures.

        Returns
        -------
        Options
        """
        return self._do(_calls.options, use_local_defaults=use_local_defaults, **kwargs)

    def events(self, cluster_name: str) -> Any:
        """Tell what happened to a cluster, also after its end.

        Returns
        -------
        list of ClusterEvent
        """
        return self._do(_calls.events, cluster_name)

    def workers(self, cluster_name: str) -> Any:
        """List the workers of a cluster.

        Returns
        -------
        list of Worker
        """
        return self._do(_calls.workers, cluster_name)

    def logs(self, cluster_name: str, process: str | None = None, tail: int | None = None, follow: bool = False) -> Any:
        """Read the logs of a cluster's processes, also after their end.

        Parameters
        ----------
        cluster_name
            Id or name of the cluster.
        process
            "scheduler" or the name of a worker. Default: all.
        tail
            Only so many last lines of each process. Default: all that is kept.
        follow
            Whether to go on with what is written later, until the cluster has ended.

        Returns
        -------
        Logs
            From process to text. With `follow` an iterator (asynchronous: an asynchronous one) of (process, lines).
        """
        if follow:
            lines = self._follow_logs(cluster_name, process, tail)
            return lines if self.asynchronous else self._iterate(lines)
        return self._do(self._read_logs, cluster_name, process, tail)

    def whoami(self) -> Any:
        """Tell who you are.

        Returns
        -------
        User
        """
        return self._do(_calls.whoami)

    def get_versions(self) -> Any:
        """Return the versions of this client and of the server.

        Returns
        -------
        dict
            ``{"server": {"version": ...}, "client": {"version": ...}}``; None for a server that does not tell.
        """
        return self._do(_versions)

    # Inside

    async def _read_logs(self, connection: Connection, name: str, process: str | None, tail: int | None) -> Any:
        cluster = (await _calls.resource(connection, name)).partition("/")[2]
        return await _logs.read(connection, cluster, process, tail)

    async def _follow_logs(
        self, name: str, process: str | None, tail: int | None
    ) -> AsyncGenerator[tuple[str, str], None]:
        connection = self._session.connection
        cluster = (await _calls.resource(connection, name)).partition("/")[2]
        async for piece in _logs.stream(connection, cluster, process, tail, follow=True):
            yield piece


def gateway_of(session: Session) -> Gateway:
    """A Gateway that uses this session."""
    gateway = Gateway.__new__(Gateway)
    gateway._begin(session)  # pyright: ignore[reportPrivateUsage] - a constructor that users need not see
    return gateway


async def _versions(connection: Connection) -> dict[str, dict[str, str | None]]:
    from headrace import __version__

    await _calls.whoami(connection)
    return {"server": {"version": connection.server_version or None}, "client": {"version": __version__}}


def start_timeout(timeout: float | str | None) -> float:
    """Seconds to wait for a cluster."""
    return _config.get_seconds("timeouts.start") if timeout is None else _config.seconds(timeout, "timeout")
