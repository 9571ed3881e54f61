"""How a `Gateway` changes clusters: stops, scales, shares and deletes them, and changes their worker groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from headrace._dask import changes
from headrace._dask.faces import Asynchronous, TwoFaced, both_faces
from headrace._dask.specification import DEFAULT_GROUP, Lifetime, adapt_range, share_seconds, worker_count, worker_group
from headrace._wire import calls, sharing
from headrace.access import Share
from headrace.errors import StopFailed


class GatewayChanging(TwoFaced[Asynchronous]):
    """The part of `Gateway` that changes clusters."""

    @both_faces
    async def stop_cluster(self, cluster_name: str) -> None:
        """Stop a cluster (StopCluster). A cluster that has ended stays unchanged.

        Raises
        ------
        ClusterNotFound
            There is no such cluster that you may see.
        PermissionDenied
            You may see the cluster, but not stop it.
        """
        await calls.stop(self._session.connection, cluster_name)

    @both_faces
    async def stop_all(self) -> list[str]:
        """Stop all your living clusters (BatchStopClusters).

        Returns
        -------
        list of str
            Their ids.

        Raises
        ------
        StopFailed
            Some could not be stopped. The others are stopping.
        """
        answer = await calls.stop_matching(self._session.connection, calls.cluster_filter())
        stopped = [calls.cluster_id(name) for name in answer.stopped]
        if answer.failures:
            failures = {calls.cluster_id(failure.name): failure.message for failure in answer.failures}
            raise StopFailed(stopped, failures)
        return stopped

    @both_faces
    async def delete_cluster(self, cluster_name: str) -> None:
        """Delete the record, the events and the logs of an ended cluster (DeleteCluster).

        Raises
        ------
        ClusterNotFound
            There is no such cluster that you may see.
        ClusterNotEnded
            The cluster has not ended. Nothing was deleted.
        PermissionDenied
            You may see the cluster, but not delete it.
        """
        await calls.delete(self._session.connection, cluster_name)

    @both_faces
    async def scale_cluster(self, cluster_name: str, n: int, group: str = DEFAULT_GROUP) -> None:
        """Ask for a number of workers, and end adaptive scaling of the group (ScaleCluster). Returns before they run.

        Parameters
        ----------
        cluster_name
            Id or name of the cluster.
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
        ClusterNotFound, GroupNotFound
            There is no such cluster that you may see, or it has no such group.
        ClusterEnded
            The cluster is stopping or has ended.
        PermissionDenied
            You may see the cluster, but not scale it.
        """
        await changes.scale(self._session.connection, cluster_name, worker_count("n", n), group)

    @both_faces
    async def adapt_cluster(
        self,
        cluster_name: str,
        minimum: int | None = None,
        maximum: int | None = None,
        active: bool = True,
        group: str = DEFAULT_GROUP,
    ) -> None:
        """Let the number of workers in a group follow the load (AdaptCluster).

        Parameters
        ----------
        cluster_name
            Id or name of the cluster.
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
        QuotaExceeded, ClusterNotFound, GroupNotFound, ClusterEnded, PermissionDenied
            As for `scale_cluster`.
        """
        bounds = adapt_range(minimum, maximum) if active else None
        await changes.adapt(self._session.connection, cluster_name, bounds, group)

    @both_faces
    async def update_cluster(
        self,
        cluster_name: str,
        *,
        tags: Mapping[str, str] | None = None,
        lifetime: Lifetime | None = None,
        shares: Iterable[Share] | None = None,
    ) -> None:
        """Change tags, lifetime or shares of a cluster (UpdateCluster). What is not given stays unchanged.

        Parameters
        ----------
        cluster_name
            Id or name of the cluster.
        tags
            Labels for cost reports, in place of the old ones.
        lifetime
            Time after its creation at which the cluster is stopped, as for `new_cluster`. ``math.inf`` means no
            maximum.
        shares
            Who else may use the cluster, in place of the old shares.

        Raises
        ------
        InvalidRequest
            A value is wrong. Nothing was changed.
        ClusterNotFound, ClusterEnded
            There is no such cluster that you may see, or it is stopping or has ended.
        PermissionDenied
            You may see the cluster, but not change it.

        Examples
        --------
        >>> share = Share("users/bob", frozenset({Right.CLUSTER_CONNECT}))  # doctest: +SKIP
        >>> gateway.update_cluster("analysis", shares=[share])  # doctest: +SKIP
        """
        connection = self._session.connection
        await changes.update(connection, cluster_name, tags=tags, lifetime=lifetime, shares=shares)

    @both_faces
    async def share_cluster(
        self,
        cluster_name: str,
        member: str,
        rights: str | Iterable[str] = "connect",
        *,
        until: datetime | None = None,
        for_: Lifetime | None = None,
    ) -> None:
        """Let somebody use a cluster, in place of what they might do with it before (UpdateCluster).

        When a share ends, what it has opened ends too: watches, followed logs, dashboards and Dask clients.

        Parameters
        ----------
        cluster_name
            Id or name of the cluster.
        member
            User id, ``"users/ann"`` or ``"groups/physics"``.
        rights
            One or several of "view", "connect", "scale" and "stop". Each includes "view". A user who may connect
            can run any code in the cluster.
        until
            Time at which it ends, in local time if it has no time zone.
        for_
            Time after which it ends, such as "2 h". Default: it ends with the cluster.

        Raises
        ------
        InvalidRequest
            The member owns the cluster, or an argument is wrong. Nothing was changed.
        ClusterNotFound, ClusterEnded, PermissionDenied
            As for `update_cluster`.

        Examples
        --------
        >>> gateway.share_cluster("analysis", "ann")  # doctest: +SKIP
        >>> gateway.share_cluster("analysis", "groups/physics", "view", for_="2 h")  # doctest: +SKIP
        """
        end = sharing.end_of(until, share_seconds(for_))
        await sharing.share(self._session.connection, cluster_name, member, rights, end)

    @both_faces
    async def unshare_cluster(self, cluster_name: str, member: str) -> None:
        """Take somebody's rights on a cluster away (UpdateCluster).

        Raises
        ------
        InvalidRequest
            The cluster is not shared with them. Nothing was changed.
        ClusterNotFound, ClusterEnded, PermissionDenied
            As for `update_cluster`.
        """
        await sharing.unshare(self._session.connection, cluster_name, member)

    @both_faces
    async def add_worker_group(
        self,
        cluster_name: str,
        group: str,
        size: int = 0,
        *,
        adapt: tuple[int, int | None] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add a worker group to a cluster (UpdateCluster).

        Parameters
        ----------
        cluster_name
            Id or name of the cluster.
        group
            Name of the new group: 1 to 63 of a-z, 0-9 and "-".
        size
            Number of workers.
        adapt
            (minimum, maximum) of adaptive scaling. Default: the size is fixed.
        **kwargs
            Options that differ from the cluster's, such as ``worker_memory="64 GiB"``.

        Raises
        ------
        InvalidRequest
            The cluster has a group of that name, or a value is wrong. Nothing was changed.
        QuotaExceeded
            More than you may have. Nothing was changed.
        ClusterNotFound, ClusterEnded, PermissionDenied
            As for `update_cluster`.
        """
        new = worker_group(group, {"size": size, "adapt": adapt, "options": kwargs})
        await changes.add_worker_group(self._session.connection, cluster_name, new)

    @both_faces
    async def remove_worker_group(self, cluster_name: str, group: str) -> None:
        """Remove a worker group with its workers from a cluster (UpdateCluster).

        Raises
        ------
        GroupNotFound
            The cluster has no such group.
        InvalidRequest
            It is the last group of the cluster.
        ClusterNotFound, ClusterEnded, PermissionDenied
            As for `update_cluster`.
        """
        await changes.remove_worker_group(self._session.connection, cluster_name, group)
