"""Finds clusters for callers, and checks their rights on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import inf

from headrace.access import Access, Role, may, members_for, names_of, next_end, role_for
from headrace.errors import ClusterNotFound, PermissionDenied
from headrace.resource_names import cluster_name, last_part
from headrace.v1.enums import Right
from headrace_chassis.audit.note import about
from headrace_chassis.identity.caller import ADMIN, Caller
from headrace_chassis.identity.rights import current_right
from headrace_chassis.roles import Roles
from headrace_controller.api.filters import Filter
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId, UserId
from headrace_controller.store import RecordUnreadable

# A revision that does not come within this time is read with a round trip to the store.
_REVISION_SECONDS = 0.5


class ClusterAccess:
    """Finds clusters by ``clusters/{cluster}``, or by ``clusters/~{alias}`` or ``clusters/~{user}:{alias}``.

    The second form is about the caller's living clusters, never about those that others have shared with them: anybody
    could put another cluster in the place of one that has ended.

    To a caller who may not view it, a cluster does not exist: `ClusterNotFound`. A caller who may view it but lacks
    the right gets `PermissionDenied`, and one who has it `RecordUnreadable` where the record cannot be read.

    Parameters
    ----------
    roles
        Returns the roles of the policy in force.
    """

    def __init__(
        self, mirror: ClusterMirror, roles: Callable[[], Roles] = Roles, *, clock: Callable[[], float]
    ) -> None:
        self._mirror = mirror
        self._roles = roles
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
                self.check(cluster, caller, current_right(), name)
                return cluster
        return await self.get(name, caller)

    def of(self, cluster: Cluster) -> Access:
        """Return whose a cluster is, with the operators of the policy in force."""
        return replace(cluster.access, operators=self._roles().operators_of(cluster.groups))

    def may(self, cluster: Cluster, caller: Caller, right: Right) -> bool:
        """Return whether the caller has a right on the cluster now."""
        return may(caller, right, self.of(cluster), now=self._clock())

    def connects_through(self, cluster: Cluster, caller: Caller) -> tuple[list[str], float | None]:
        """Return the members through whom the caller may connect, and the seconds until that ends, None for never."""
        now = self._clock()
        members = members_for(caller, Right.CLUSTER_CONNECT, cluster.access, now=now)
        if caller.is_admin or caller.user == cluster.owner:
            return members, None
        ends = [inf if one.expires is None else one.expires for one in cluster.spec.shares if one.member in members]
        return members, max(ends, default=now) - now

    def named(self, cluster: Cluster, caller: Caller, right: Right | None = None) -> str:
        """Return who does something, for events: "ann", or "admin root for ann" if they act by a role of theirs."""
        role = role_for(caller, right or current_right(), self.of(cluster), now=self._clock())
        return f"{role} {caller.user} for {cluster.owner}" if role in {Role.ADMIN, Role.OPERATOR} else caller.user

    def seconds_to_next_end(self, cluster: Cluster) -> float:
        """Return the seconds after which a share of the cluster ends; infinity if none does."""
        now = self._clock()
        end = next_end(cluster.access, now)
        return inf if end is None else end - now

    def matching(
        self, wanted: Filter, caller: Caller, right: Right, *, living: bool | None, before: int | None = None
    ) -> Iterator[Cluster | None]:
        """Yield the clusters of a filter, newest first, and None in the place of those that do not match."""
        plain = as_user(caller)  # admins name the owner
        for id_ in self._ids(wanted, plain, living, before):
            cluster = self._mirror.get(id_)
            if cluster is not None and (
                not wanted.matches(cluster) or (wanted.shared and not self.may(cluster, plain, right))
            ):
                cluster = None
            yield cluster

    def _ids(self, wanted: Filter, caller: Caller, living: bool | None, before: int | None) -> Sequence[ClusterId]:
        if not wanted.shared or wanted.owner is not None:
            return self._mirror.ids(wanted.owner, living=living, before=before)
        operated = self._roles().groups_operated_by(caller)
        return self._mirror.ids_of(UserId(caller.user), names_of(caller), operated, living=living, before=before)

    def check(self, cluster: Cluster, caller: Caller, right: Right, name: str = "") -> None:
        """Raise `ClusterNotFound` or `PermissionDenied` unless the caller has the right on the cluster now."""
        access, now = self.of(cluster), self._clock()
        role = role_for(caller, right, access, now=now)
        viewer = role or role_for(caller, Right.CLUSTER_VIEW, access, now=now)
        about(cluster_name(cluster.id), cluster.owner, viewer)
        if role is not None:
            return
        if viewer is None:
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
        owner, _, alias = cluster[1:].rpartition(":")
        return self._mirror.by_alias(UserId(owner or caller.user), alias) or ClusterId("")


def as_user(caller: Caller) -> Caller:
    """Return the caller without the role of an admin, who may see everything: what is shared with them is less."""
    return replace(caller, roles=caller.roles - {ADMIN})


def require_admin(caller: Caller, what: str) -> None:
    """Raise `PermissionDenied` unless the caller is an admin. `what` is what only admins may do."""
    if not caller.is_admin:
        raise PermissionDenied(f"{caller.user} may not {what}; only admins may")


def not_found(name: str) -> ClusterNotFound:
    """Return the error of a cluster that does not exist, or not for this caller."""
    known = name[:100].removeprefix("clusters/")
    if known.startswith("~"):
        owner, _, alias = known[1:].rpartition(":")
        name, whose, option = (f"{owner}/{alias}", "those of others", " --shared") if owner else (alias, "yours", "")
        return ClusterNotFound(
            f"there is no living cluster named {name!r} that you may see; `headrace clusters list --all{option}` shows "
            f"{whose} with their ids, also those that have ended"
        )
    return ClusterNotFound(f"there is no cluster {known!r} that you may see; `headrace clusters list` shows yours")
