"""For whom a cluster is created, and what is known of users other than the caller."""

from __future__ import annotations

from headrace.access import Access, role_for
from headrace.errors import InvalidRequest, PermissionDenied, Violation
from headrace.resource_names import last_part
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.enums import Right
from headrace_chassis.audit.note import about
from headrace_chassis.identity.caller import Caller
from headrace_controller.api.fields import raise_violations, shown, wrong_member
from headrace_controller.api.requests import person
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import UserId
from headrace_controller.profiles import Person

_MOST_GROUPS = 1000


def owner_of(request: pb.CreateClusterRequest, caller: Caller, mirror: ClusterMirror) -> Person:
    """Return the owner of a new cluster, to whom its profile and options are offered.

    Raises
    ------
    PermissionDenied
        It is somebody else's, and the caller is no admin.
    """
    owner = UserId(last_part(request.owner, "users", "owner")) if request.owner else UserId(caller.user)
    role = role_for(caller, Right.CLUSTER_CREATE, Access(owner))
    about("", owner, role)
    if role is None:
        raise PermissionDenied(f"{caller.user} may not create clusters for {owner}; only admins may")
    if not request.HasField("owner_groups"):
        return person(caller) if owner == caller.user else Person(user=owner, groups=known_groups(owner, mirror))
    if owner == caller.user:
        raise InvalidRequest.of(Violation("owner_groups", "may be given only with an owner who is not you"))
    given = request.owner_groups.groups
    if len(given) > _MOST_GROUPS:
        raise InvalidRequest.of(Violation("owner_groups.groups", f"may have at most {_MOST_GROUPS} entries"))
    raise_violations(
        [
            Violation(f"owner_groups.groups[{n}]", f"must be groups/{{group}}, is {shown(name)}")
            for n, name in enumerate(given)
            if wrong_member(name) or not name.startswith("groups/")
        ]
    )
    return Person(user=owner, groups=tuple(dict.fromkeys(name.removeprefix("groups/") for name in given)))


def known_groups(user: UserId, mirror: ClusterMirror) -> tuple[str, ...]:
    """Return the groups of a user, as the newest of their clusters has them; none if none is known."""
    newest = next(iter(mirror.ids(user)), None)
    record = None if newest is None else mirror.get(newest)
    return () if record is None else record.groups
