"""Requests and answers about exceptions of limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import ValidationError

from headrace.errors import InvalidRequest, Violation
from headrace.resource_names import user_name
from headrace.v1 import limits_service_pb2 as pb
from headrace_controller import resources
from headrace_controller.api import convert
from headrace_controller.api.fields import raise_violations, read_lifetime, shown
from headrace_controller.model import LimitException, Limits
from headrace_controller.policy.offers import LimitSettings

DEFAULT_SECONDS = 7 * 86_400.0
MAX_SECONDS = 90 * 86_400.0

_MAX_REASON = 256
_MAX_NAME = 256
_MAX_LIMITS = 32
_OWN = LimitSettings.model_fields.keys() - {"resources"}


def read_subject(subject: str) -> str:
    """Return whose limits a request is about: a user's or a group's, of a name that a policy may have."""
    kind, _, name = subject.partition("/")
    wrong = kind not in {"users", "groups"} or not 0 < len(name) <= _MAX_NAME or name == "-" or not name.isprintable()
    if wrong or (kind == "users" and "/" in name):
        must = "must be users/{user} or groups/{group}"
        raise InvalidRequest.of(Violation("subject", f"{must}, is {shown(subject)}"))
    return subject


def read_limits(given: Mapping[str, str], names: Collection[str]) -> Limits:
    """Return limits that are written as in a policy whose limits count resources of these names."""
    if not 0 < len(given) <= _MAX_LIMITS:
        raise InvalidRequest.of(Violation("limits", f"must have 1 to {_MAX_LIMITS} entries, has {len(given)}"))
    raise_violations(unknown(given, names, "limits."))
    own = {resource: text for resource, text in given.items() if resource in _OWN}
    named = {resource: text for resource, text in given.items() if resource not in _OWN}
    try:
        return LimitSettings.model_validate({**own, "resources": named}).limits()
    except ValidationError as error:
        raise InvalidRequest.of(
            *(
                Violation(f"limits.{one['loc'][-1]}", one["msg"].removeprefix("Value error, "))
                for one in error.errors(include_url=False)
            )
        ) from None


def unknown(given: Collection[str], names: Collection[str], field: str) -> list[Violation]:
    """Return what is wrong with names of resources."""
    known = ", ".join([*(one for one in LimitSettings.model_fields if one in _OWN), *sorted(names)])
    return [
        Violation(f"{field}{one[:80]}", f"is no resource that limits count; they count {known}")
        for one in given
        if one not in _OWN and one not in names
    ]


def read_seconds(request: pb.SetLimitExceptionsRequest) -> float:
    """Return for how long limits are set."""
    if not request.HasField("duration"):
        return DEFAULT_SECONDS
    seconds, violations = read_lifetime(request.duration, "duration")
    if not violations and seconds > MAX_SECONDS:
        violations = [Violation("duration", f"must be at most 90 days, is {seconds / 86_400:g} days")]
    raise_violations(violations)
    return seconds


def read_reason(request: pb.SetLimitExceptionsRequest) -> str:
    """Return why limits are set."""
    if len(request.reason) > _MAX_REASON or not request.reason.isprintable():
        raise InvalidRequest.of(Violation("reason", f"must be one line of at most {_MAX_REASON} characters"))
    return request.reason


def resource(one: LimitException) -> str:
    """Return the resource as people write it."""
    return resources.shown(one.resource, one.bound)[0]


def message(one: LimitException) -> pb.LimitException:
    """Return it as a message."""
    what, limit = resources.shown(one.resource, one.bound)
    return pb.LimitException(
        subject=one.subject,
        resource=what,
        limit=limit,
        set_time=convert.timestamp(one.begun),
        end_time=convert.timestamp(one.ends),
        set_by=user_name(one.by),
        reason=one.reason,
    )
