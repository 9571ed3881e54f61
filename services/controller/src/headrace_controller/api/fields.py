"""Checks of single fields of requests. Each returns what is wrong, so that everything is reported at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.access import SHARED_RIGHTS, Share
from headrace.errors import InvalidRequest, Violation
from headrace.resource_names import user_name
from headrace.v1 import cluster_pb2 as pb
from headrace_chassis.routes import read_shares, share_messages
from headrace_controller.api import convert
from headrace_controller.model import Spec

LABEL = re.compile(r"[a-z0-9-]{1,63}")
LABEL_RULE = "must be 1 to 63 of a-z, 0-9 and '-'"
_MAX_TAGS, _MAX_TAG_BYTES, _MAX_SHARES, _MAX_NAME_BYTES = 32, 63, 64, 256
_MAX_LIFETIME_YEARS = 10
_MAX_SPEC_BYTES = 64 << 10


def raise_violations(violations: Sequence[Violation]) -> None:
    """Raise `InvalidRequest` if there is any violation."""
    if violations:
        raise InvalidRequest.of(*violations)


def shown(text: str) -> str:
    """Quote a text, shortened."""
    return repr(text) if len(text) <= 80 else f"{text[:77]!r}..."


def at_least_zero(field: str, number: int) -> list[Violation]:
    return [Violation(field, f"must be 0 or more, is {number}")] if number < 0 else []


def wrong_tags(tags: Mapping[str, str], field: str) -> list[Violation]:
    if len(tags) > _MAX_TAGS:
        return [Violation(field, f"may have at most {_MAX_TAGS} entries, has {len(tags)}")]
    rule = f"the key must have 1 to {_MAX_TAG_BYTES} bytes, the value at most {_MAX_TAG_BYTES}"
    return [
        Violation(f"{field}.{key[:80]}", rule)
        for key, value in tags.items()
        if not 1 <= len(key.encode()) <= _MAX_TAG_BYTES or len(value.encode()) > _MAX_TAG_BYTES
    ]


def read_lifetime(lifetime: Duration, field: str) -> tuple[float, list[Violation]]:
    """Return the seconds of a lifetime, and what is wrong with it."""
    seconds, violations = read_duration(lifetime, field)
    if violations or seconds:
        return seconds, violations
    return 0.0, [Violation(field, "must be more than 0 s")]


def read_duration(duration: Duration, field: str) -> tuple[float, list[Violation]]:
    """Return the seconds of a length of time, and what is wrong with it."""
    seconds = duration.seconds + duration.nanos / 1e9
    if 0 <= seconds <= _MAX_LIFETIME_YEARS * 365 * 86400:
        return seconds, []
    return 0.0, [Violation(field, f"must be more than 0 s and at most {_MAX_LIFETIME_YEARS} years, is {seconds:g} s")]


def checked_shares(shares: Sequence[pb.Share], field: str) -> tuple[tuple[Share, ...], list[Violation]]:
    """Return the shares of a request, and what is wrong with them."""
    if len(shares) > _MAX_SHARES:
        return (), [Violation(field, f"may have at most {_MAX_SHARES} entries, has {len(shares)}")]
    violations = [
        Violation(f"{field}[{n}].expire_time", "is not a valid time")
        for n, message in enumerate(shares)
        if not _is_valid(message.expire_time)
    ]
    if violations:
        return (), violations
    read = read_shares(shares)
    members = Counter(share.member for share in read)
    for n, (message, share) in enumerate(zip(shares, read, strict=True)):
        if wrong := wrong_member(share.member):
            violations.append(Violation(f"{field}[{n}].member", wrong))
        elif members[share.member] > 1:
            violations.append(Violation(f"{field}[{n}].member", f"{shown(share.member)} is there twice"))
        if not message.rights or not share.rights <= SHARED_RIGHTS or len(share.rights) < len(set(message.rights)):
            rights = ", ".join(sorted(SHARED_RIGHTS))
            violations.append(Violation(f"{field}[{n}].rights", f"must be one or more of {rights}"))
    return read, violations


def check_owner_shares(shares: Sequence[Share], owner: str, field: str) -> None:
    """Raise `InvalidRequest` if a cluster would be shared with its owner."""
    if user_name(owner) in {share.member for share in shares}:
        raise InvalidRequest.of(Violation(field, f"{owner} owns the cluster and has all rights on it already"))


def wrong_member(member: str) -> str:
    """Return what is wrong with ``users/{user}`` or ``groups/{group}``; a group may have parts, as physics/lasers."""
    kind, _, name = member.partition("/")
    parts = name.split("/") if kind == "groups" else [name]
    if (
        kind not in {"users", "groups"}
        or len(name.encode()) > _MAX_NAME_BYTES
        or any(part in {"", "-", ".", ".."} or "/" in part or " " in part or not part.isprintable() for part in parts)
    ):
        return f"must be users/{{user}} or groups/{{group}}, is {shown(member)}"
    return ""


def _is_valid(time: Timestamp) -> bool:
    try:
        time.ToNanoseconds()
    except ValueError:
        return False
    return True


def check_size(spec: Spec, field: str) -> None:
    """Raise `InvalidRequest` if a spec is too large as a whole: every answer about its cluster carries it."""
    size = convert.spec(spec).ByteSize() + sum(share.ByteSize() for share in share_messages(spec.shares))
    if size > _MAX_SPEC_BYTES:
        text = f"options, worker groups, tags and shares may have {_MAX_SPEC_BYTES} bytes together, have {size}"
        raise InvalidRequest.of(Violation(field, f"{text}; give less, or set options once for all worker groups"))
