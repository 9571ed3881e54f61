"""ClusterFilter: which clusters a list, a watch or a batch is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.access import Access, Role, role_for
from headrace.errors import InvalidRequest, PermissionDenied, Violation
from headrace.resource_names import last_part
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.enums import Right
from headrace_chassis.audit.note import about
from headrace_chassis.identity.caller import Caller
from headrace_controller.api.convert import PHASES
from headrace_controller.api.fields import LABEL, LABEL_RULE, raise_violations, shown, wrong_tags
from headrace_controller.model import Cluster, Phase, UserId

_PHASES = {number: phase for phase, number in PHASES.items()}
_LIVING = tuple(phase for phase in Phase if not phase.ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which clusters. `owner` None means those of all users; `profile` "" those of all profiles.

    With `shared`, only those on which the caller has a right are meant; it is to be checked for each.
    """

    owner: UserId | None
    shared: bool = False
    phases: tuple[Phase, ...]
    tags: Mapping[str, str]
    profile: str

    @classmethod
    def read(cls, message: pb.ClusterFilter, caller: Caller) -> Filter:
        """Check a filter; raise `PermissionDenied` if the caller may not see these clusters."""
        if unknown := set(message.phases) - _PHASES.keys():
            raise InvalidRequest.of(Violation("filter.phases", f"there is no phase {min(unknown)}"))
        raise_violations([*wrong_tags(message.tags, "filter.tags"), *_wrong_profile(message.profile)])
        owner, shared = _owner(message.owner, caller), message.include_shared
        if shared and not message.owner:
            owner = None
        role = Role.SHARED if shared else role_for(caller, Right.USER, Access(owner or ""))
        about("", owner or ("" if shared else "-"), role)
        if role is None:
            whose = "all users" if owner is None else owner
            raise PermissionDenied(
                f"{caller.user} may not see all clusters of {whose}; only admins may. Leave the owner out for yours; "
                "`--shared`, in Python `shared=True`, lists those of others that you may see"
            )
        phases = tuple(_PHASES[number] for number in set(message.phases))
        return cls(
            owner=owner, shared=shared, phases=phases or _LIVING, tags=dict(message.tags), profile=message.profile
        )

    @property
    def living(self) -> bool | None:
        """Whether only living clusters (or only ended ones) can match; None if both can."""
        ended = {phase.ended for phase in self.phases}
        return None if len(ended) > 1 else not ended.pop()

    def matches(self, cluster: Cluster) -> bool:
        if cluster.status.phase not in self.phases or (self.profile and self.profile != cluster.spec.profile):
            return False
        return not self.tags or all(cluster.spec.tags.get(key) == value for key, value in self.tags.items())


def _owner(name: str, caller: Caller) -> UserId | None:
    if not name:
        return UserId(caller.user)
    return None if name == "users/-" else UserId(last_part(name, "users", "filter.owner"))


def _wrong_profile(key: str) -> list[Violation]:
    if not key or LABEL.fullmatch(key):
        return []
    return [Violation("filter.profile", f"{LABEL_RULE}, is {shown(key)}")]
