"""`GatewayCluster`: one cluster, in the shape that Dask's users and tools know."""

from __future__ import annotations

import asyncio
import atexit
import html
import traceback
import warnings
from collections.abc import Mapping
from typing import Any, Self

from distributed import Client
from tornado.ioloop import IOLoop

from headrace._dask import creation as _creation
from headrace._dask.cluster_life import ClusterLife, Existing, New
from headrace._dask.gateway import DEFAULT_GROUP
from headrace._dask.options import Options
from headrace._target.auth import GatewayAuth
from headrace._target.target import Target
from headrace._wire.session import Session
from headrace.errors import GatewayWarning

_EXIT_SECONDS = 10.0


class GatewayCluster(ClusterLife):
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
        self._session.check_process()
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

    def _repr_html_(self, cluster_status: object = None) -> str:
        link = self.dashboard_link
        html: str = super()._repr_html_(cluster_status)
        # The link is signed: it is for clicking, not for reading.
        return html.replace(f">{link}<", f">{link.partition('?')[0]}<")

    def _scaling_status(self) -> str:
        workers = len(self.scheduler_info["workers"])
        modes = "".join(
            f"<tr><td>{html.escape(group)}: {mode}</td></tr>" for group, mode in sorted(self._scaling.items())
        )
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


@atexit.register
def _close_all() -> None:
    """Clusters that end with their objects end with the process at the latest."""
    for cluster in list(GatewayCluster._instances):  # pyright: ignore[reportPrivateUsage]
        if cluster._asynchronous:  # pyright: ignore[reportPrivateUsage]
            continue
        try:
            cluster.close(timeout=_EXIT_SECONDS)
        except Exception as error:  # noqa: BLE001 - each of them gets its chance
            lines = traceback.format_exception_only(error)
            warnings.warn(f"{cluster!r} was not closed: {''.join(lines)}", GatewayWarning, stacklevel=1)
