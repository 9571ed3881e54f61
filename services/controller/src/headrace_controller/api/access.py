"""Finds clusters for callers, and checks their rights on them."""

from __future__ import annotations

from collections.abc import Callable

from headrace.access import Access, may
from headrace.errors import ClusterNotFound, PermissionDenied
from headrace.resource_names import cluster_name, last_part
from headrace.v1.enums import Right
from headrace_chassis.identity.caller import Caller
from headrace_chassis.identity.rights import current_right
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId, UserId
from headrace_controller.store import RecordUnreadable

# A revision that does not come within this time is read with a round trip to the store.
_REVISION_SECONDS = 0.5


class ClusterAccess:
    """Finds clusters by ``clusters/{cluster}``, or by ``clusters/~{alias}`` among the caller's living ones.

    To a caller who may not view it, a cluster does not exist: `ClusterNotFound`. A caller who may view it but lacks
    the right gets `PermissionDenied`, and one who has it `RecordUnreadable` where the record cannot be read.
    """

    def __init__(self, mirror: ClusterMirror, *, clock: Callable[[], float]) -> None:
        self._mirror = mirror
        self._clock = clock

    async def get(self, name: str, caller: Caller, field: str = "name", right: Right | None = None) -> Cluster:
        """Return a cluster with every change acknowledged before this call.

        Without `right`, the caller needs the right of the RPC that is being served.
        """
        last_part(name, "clusters", field)  # a malformed name costs no round trip
        await self._mirror.fresh()
        return self.get_known(name, caller, field, right)

    def get_known(self, name: str, caller: Caller, field: str = "name", right: Right | None = None) -> Cluster:
        """Return a cluster as this replica knows it."""
        id_ = self._id(name, caller, field)
        cluster, unreadable = self._mirror.get(id_), self._mirror.set_aside(id_)
        if cluster is not None:
            self.check(cluster, caller, right or current_right(), name)
        elif unreadable is None or not may(caller, Right.CLUSTER_VIEW, Access(unreadable)):
            raise not_found(name)
        if cluster is None or unreadable is not None:
            raise RecordUnreadable.of(id_)
        return cluster

    def unreadable(self, name: str, caller: Caller, field: str = "name") -> ClusterId | None:
        """Return the id of a cluster whose record cannot be read, if its owner or an admin asks; else None."""
        id_ = self._id(name, caller, field)
        owner = self._mirror.set_aside(id_)
        return id_ if owner is not None and may(caller, Right.CLUSTER_STOP, Access(owner)) else None

    async def get_at_least(self, name: str, caller: Caller, revision: int) -> Cluster:
        """Return a cluster at this revision or a later one, without a round trip to the store if possible."""
        id_ = self._id(name, caller, "name")
        if self._mirror.get(id_) is not None:
            cluster = await self._mirror.at_least(id_, revision, _REVISION_SECONDS)
            readable = cluster is not None and self._mirror.set_aside(id_) is None
            if cluster is not None and readable and self.may(cluster, caller, current_right()):
                return cluster
        return await self.get(name, caller)

    def may(self, cluster: Cluster, caller: Caller, right: Right) -> bool:
        """Return whether the caller has a right on the cluster now."""
        return may(caller, right, cluster.access, now=self._clock())

    def check(self, cluster: Cluster, caller: Caller, right: Right, name: str = "") -> None:
        """Raise `ClusterNotFound` or `PermissionDenied` unless the caller has the right on the cluster now."""
        if self.may(cluster, caller, right):
            return
        if not self.may(cluster, caller, Right.CLUSTER_VIEW):
            raise not_found(name or cluster_name(cluster.id))
        raise PermissionDenied(
            f"{caller.user} may not do this with cluster {cluster.id}: it needs the right {right}; "
            f"ask {cluster.owner}, who owns it"
        )

    def _id(self, name: str, caller: Caller, field: str) -> ClusterId:
        """The id that a name stands for; "" where it is an alias of no living cluster."""
        cluster = last_part(name, "clusters", field)
        if not cluster.startswith("~"):
            return ClusterId(cluster)
        return self._mirror.by_alias(UserId(caller.user), cluster[1:]) or ClusterId("")


def not_found(name: str) -> ClusterNotFound:
    """Return the error of a cluster that does not exist, or not for this caller."""
    known = name[:100].removeprefix("clusters/")
    what = f"living cluster named {known[1:]!r}" if known.startswith("~") else f"cluster {known!r}"
    return ClusterNotFound(f"there is no {what} that you may see; `headrace clusters list` shows yours")
