"""How a `GatewayCluster` changes its cluster: sizes, tags, shares, culling and worker groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from headrace._dask import changes
from headrace._dask.culling_widget import KEEP_HOURS
from headrace._dask.faces import Asynchronous, TwoFaced, both_faces
from headrace._dask.lifecycle import Lifecycle
from headrace._dask.specification import DEFAULT_GROUP, Lifetime, adapt_range, share_seconds, worker_count, worker_group
from headrace._wire import sharing
from headrace.access import Share


class ClusterChanging(TwoFaced[Asynchronous]):
    """The part of `GatewayCluster` that changes the cluster."""

    _life: Lifecycle

    @both_faces
    async def scale(self, n: int, group: str = DEFAULT_GROUP) -> None:
        """Ask for a number of workers, and end adaptive scaling of the group (ScaleCluster). Returns before they run.

        Parameters
        ----------
        n
            Number of workers, 0 or more.
        group
            Worker group.

        Raises
        ------
        InvalidRequest
            `n` is no number of workers.
        QuotaExceeded
            More than you may have, and the deployment is set to refuse that. By default as many as you may have are
            started, with a `GatewayWarning`.
        GroupNotFound
            The cluster has no such group.
        ClusterEnded, ClusterNotFound
            The cluster is stopping or has ended.
        PermissionDenied
            You may not scale the cluster.
        """
        self._life.note(await changes.scale(self._session.connection, self._life.name, worker_count("n", n), group))

    @both_faces
    async def adapt(
        self, minimum: int | None = None, maximum: int | None = None, active: bool = True, group: str = DEFAULT_GROUP
    ) -> None:
        """Let the number of workers in a group follow the load (AdaptCluster).

        Parameters
        ----------
        minimum
            Minimum number of workers. Default: 0.
        maximum
            Maximum number of workers. Default: as many as your limits allow.
        active
            False ends it; the group keeps its current number of workers.
        group
            Worker group.

        Raises
        ------
        InvalidRequest
            `minimum` or `maximum` is no number of workers, or `maximum` is smaller than `minimum`.
        QuotaExceeded, GroupNotFound, ClusterEnded, ClusterNotFound, PermissionDenied
            As for `scale`.
        """
        bounds = adapt_range(minimum, maximum) if active else None
        self._life.note(await changes.adapt(self._session.connection, self._life.name, bounds, group))

    @both_faces
    async def update(
        self,
        *,
        tags: Mapping[str, str] | None = None,
        lifetime: Lifetime | None = None,
        shares: Iterable[Share] | None = None,
    ) -> None:
        """Change tags, lifetime or shares of the cluster; see `Gateway.update_cluster`."""
        connection = self._session.connection
        self._life.note(await changes.update(connection, self._life.name, tags=tags, lifetime=lifetime, shares=shares))

    @both_faces
    async def share(
        self,
        member: str,
        rights: str | Iterable[str] = "connect",
        *,
        until: datetime | None = None,
        for_: Lifetime | None = None,
    ) -> None:
        """Let somebody use the cluster; see `Gateway.share_cluster`."""
        end = sharing.end_of(until, share_seconds(for_))
        self._life.note(await sharing.share(self._session.connection, self._life.name, member, rights, end))

    @both_faces
    async def unshare(self, member: str) -> None:
        """Take somebody's rights on the cluster away; see `Gateway.unshare_cluster`."""
        self._life.note(await sharing.unshare(self._session.connection, self._life.name, member))

    @property
    def shares(self) -> tuple[Share, ...]:
        """Who else may use the cluster, as this object saw it last; `report` asks."""
        return self._life.shares

    @both_faces
    async def keep(self, hours: float = KEEP_HOURS) -> datetime:
        """Put culling of the cluster off (KeepCluster). A lifetime of its own is extended if it would end before.

        An earlier call that keeps it for longer stays in force.

        Parameters
        ----------
        hours
            Hours from now.

        Returns
        -------
        datetime.datetime
            Time in UTC until which culling is put off: that of an earlier call if it is later.

        Raises
        ------
        KeepRefused
            The policy does not allow that much. The details have the longest time that it allows, in ``seconds``.
        InvalidRequest
            `hours` is no time.
        ClusterEnded, ClusterNotFound
            The cluster is stopping or has ended.
        PermissionDenied
            You may not scale the cluster.
        """
        return await self._life.keep(hours)

    @both_faces
    async def add_worker_group(
        self, group: str, size: int = 0, *, adapt: tuple[int, int | None] | None = None, **kwargs: Any
    ) -> None:
        """Add a worker group to the cluster; see `Gateway.add_worker_group`."""
        new = worker_group(group, {"size": size, "adapt": adapt, "options": kwargs})
        self._life.note(await changes.add_worker_group(self._session.connection, self._life.name, new))

    @both_faces
    async def remove_worker_group(self, group: str) -> None:
        """Remove a worker group with its workers from the cluster; see `Gateway.remove_worker_group`."""
        self._life.note(await changes.remove_worker_group(self._session.connection, self._life.name, group))
