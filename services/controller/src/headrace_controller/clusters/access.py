"""Who may see and change which cluster: its owner, and admins. To everybody else it does not exist."""

from __future__ import annotations

from headrace.errors import ClusterNotFound, PermissionDenied
from headrace.resource_names import cluster_name, last_part
from headrace_chassis.identity.caller import Caller
from headrace_controller.model import Cluster, ClusterId, UserId
from headrace_controller.store import Store


class Access:
    """Finds clusters for callers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, name: str, caller: Caller, field: str = "name") -> ClusterId:
        """Resolves ``clusters/{cluster}`` or ``clusters/~{alias}``; says nothing yet about the right to see it."""
        cluster = last_part(name, "clusters", field)
        if not cluster.startswith("~"):
            return ClusterId(cluster)
        if (found := await self._store.by_alias(UserId(caller.user), cluster[1:])) is None:
            raise not_found(name)
        return found

    async def get(self, name: str, caller: Caller, field: str = "name") -> Cluster:
        """Returns a cluster that the caller may see."""
        cluster = await self._store.get(await self.find(name, caller, field))
        check(cluster.id, cluster.owner, caller)
        return cluster

    async def checked_id(self, name: str, caller: Caller, field: str = "name") -> ClusterId:
        """Returns the id of a cluster that the caller may see."""
        cluster = await self.find(name, caller, field)
        _, owner = await self._store.revision(cluster)
        check(cluster, owner, caller)
        return cluster


def check(cluster: ClusterId, owner: UserId, caller: Caller) -> None:
    """Raises `ClusterNotFound` if the caller may not see the cluster."""
    if owner != caller.user and not caller.is_admin:
        raise not_found(cluster_name(cluster))


def check_owner(owner: UserId | None, caller: Caller) -> None:
    """Raises `PermissionDenied` if the caller may not see what is an owner's, or (None) everybody's."""
    if owner != caller.user and not caller.is_admin:
        whose = "everybody's" if owner is None else f"{owner}'s"
        raise PermissionDenied(f"{caller.user} may not see {whose} clusters; only admins may. Leave `owner` empty.")


def not_found(name: str) -> ClusterNotFound:
    """The error of a cluster that is not there, or not for this caller."""
    return ClusterNotFound(f"there is no cluster {name[:100]!r} that you may see; `headrace clusters list` shows yours")
