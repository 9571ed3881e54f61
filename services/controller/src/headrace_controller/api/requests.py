"""Requests to create clusters and to change single ones, checked. Everything that is wrong is reported at once."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.errors import InvalidRequest, Violation
from headrace.resource_names import is_cluster_id
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1 import culling_service_pb2
from headrace_chassis.identity.caller import Caller
from headrace_controller.api.fields import (
    LABEL,
    LABEL_RULE,
    at_least_zero,
    check_size,
    checked_shares,
    raise_violations,
    read_duration,
    read_lifetime,
    shown,
    wrong_tags,
)
from headrace_controller.api.worker_groups import check_options, read_adapt, read_groups, read_options
from headrace_controller.model import DEFAULT_GROUP, AdaptRange, Group, Spec
from headrace_controller.options.catalogue import Options
from headrace_controller.profiles import Person, Profile, Profiles, UnknownProfile

_MAX_REQUEST_ID_BYTES = 64


@dataclass(frozen=True, slots=True)
class NewCluster:
    """A checked request for a cluster. `queue_timeout` None is the deployment's."""

    spec: Spec
    request_id: str
    queue_timeout: float | None = None


def new_cluster(request: pb.CreateClusterRequest, profile: str, offered: Options) -> NewCluster:
    """Check a CreateClusterRequest for a profile, whose options are `offered`."""
    spec = request.spec
    options, violations = read_options(spec.options, offered, "spec.options")
    checked = check_options(spec.worker_groups, offered, "spec.worker_groups", options)
    groups, wrong = read_groups(spec.worker_groups, checked, "spec.worker_groups")
    violations += wrong
    shares, wrong = checked_shares(request.shares, "shares")
    violations += wrong
    lifetime = None
    if spec.HasField("lifetime"):
        lifetime, wrong = read_lifetime(spec.lifetime, "spec.lifetime")
        violations += wrong
    queue_timeout = None
    if request.HasField("queue_timeout"):
        queue_timeout, wrong = read_duration(request.queue_timeout, "queue_timeout")
        violations += wrong
    violations += wrong_tags(spec.tags, "spec.tags") + _wrong_names(request)
    raise_violations(violations)
    wanted = Spec(
        alias=spec.alias,
        profile=profile,
        options=options,
        groups=groups or (Group(),),
        tags=dict(spec.tags),
        lifetime=lifetime,
        shares=shares,
    )
    check_size(wanted, "spec")
    return NewCluster(wanted, request.request_id, queue_timeout)


def choose_profile(profiles: Profiles, key: str, whose: Person, caller: Caller, field: str) -> Profile:
    """Return a profile that somebody may choose, or raise `InvalidRequest`."""
    try:
        return profiles.choose(key, whose)
    except UnknownProfile as error:
        text = str(error)
        if whose.user != caller.user:
            groups = ", ".join(whose.groups[:10]) or "no group that is known: give their groups"
            text = f"{text} (this is for {whose.user}, who is in {groups})"
        raise InvalidRequest.of(Violation(field, text)) from None


def person(caller: Caller) -> Person:
    """Return whom profiles and options are offered to."""
    return Person(user=caller.user, groups=caller.groups, is_admin=caller.is_admin)


def size(request: pb.ScaleClusterRequest) -> int:
    """Return the number of workers of a request."""
    raise_violations(at_least_zero("size", request.size))
    return request.size


def adapt_range(request: pb.AdaptClusterRequest) -> AdaptRange | None:
    """Return the range of a request; None ends adaptive scaling."""
    if not request.HasField("adapt"):
        return None
    adapt, violations = read_adapt(request.adapt, "adapt")
    raise_violations(violations)
    return adapt


def keep_seconds(request: culling_service_pb2.KeepClusterRequest) -> float:
    """Return the time of a request for which to keep a cluster."""
    seconds, violations = read_lifetime(request.duration, "duration")
    raise_violations(violations)
    return seconds


def group_name(name: str) -> str:
    return name or DEFAULT_GROUP


def resource_version(text: str) -> int:
    """Return the revision that a client has seen; 0 if it names none."""
    if text and not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise_violations([Violation("resource_version", f"must be that of an earlier answer, is {shown(text)}")])
    return int(text or 0)


def _wrong_names(request: pb.CreateClusterRequest) -> list[Violation]:
    violations: list[Violation] = []
    alias = request.spec.alias
    if alias and not LABEL.fullmatch(alias):
        violations.append(Violation("spec.alias", f"{LABEL_RULE}, is {shown(alias)}"))
    elif is_cluster_id(alias):
        violations.append(Violation("spec.alias", f"{alias} looks like the id of a cluster: choose another name"))
    if len(request.request_id.encode()) > _MAX_REQUEST_ID_BYTES:
        violations.append(Violation("request_id", f"may have at most {_MAX_REQUEST_ID_BYTES} bytes"))
    return violations
