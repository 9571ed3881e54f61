"""Sharing a cluster: one member is added or taken out, and the other shares stay (UpdateCluster)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime

from headrace._wire.connection import Connection
from headrace._wire.rewriting import rewrite
from headrace.access import SHARED_RIGHTS
from headrace.errors import InvalidRequest, Violation
from headrace.v1 import cluster_pb2
from headrace.v1.right_pb2 import Right

_MAX_SECONDS = 10 * 365 * 86400.0
_PREFIX = "CLUSTER_"
NAMES = tuple(right.removeprefix(_PREFIX).lower() for right in sorted(SHARED_RIGHTS))
"""What can be shared, as people write it."""


def member_name(member: str) -> str:
    """Return ``users/{user}`` or ``groups/{group}``. A name alone is a user's."""
    return member if member.startswith(("users/", "groups/")) else f"users/{member}"


def rights_of(names: str | Iterable[str]) -> list[Right.ValueType]:
    """Return the rights that people name as in "connect" or "connect,scale"."""
    given = names.split(",") if isinstance(names, str) else list(names)
    words = [name.strip().upper().removeprefix(_PREFIX) for name in given]
    if wrong := [name for name, word in zip(given, words, strict=True) if word.lower() not in NAMES]:
        text = f"{wrong[0]!r:.80} is none of {', '.join(NAMES)}"
        raise InvalidRequest.of(Violation("rights", text))
    if not words:
        raise InvalidRequest.of(Violation("rights", f"must be one or more of {', '.join(NAMES)}"))
    return [Right.Value(f"RIGHT_{_PREFIX}{word}") for word in sorted(set(words))]


def end_of(until: datetime | None, seconds: float | None) -> float | None:
    """Return the time at which a share ends, in seconds since the epoch; None means with the cluster."""
    if until is not None and seconds is not None:
        raise InvalidRequest.of(Violation("until", "give either until or for_"))
    if seconds is not None and not 0 < seconds < _MAX_SECONDS:
        raise InvalidRequest.of(Violation("for_", f"must be more than 0 s and at most 10 years, is {seconds:g} s"))
    if until is not None and until.timestamp() <= time.time():
        raise InvalidRequest.of(Violation("until", f"{until:%Y-%m-%d %H:%M:%S} is in the past"))
    return time.time() + seconds if seconds is not None else until.timestamp() if until is not None else None


Shares = list[cluster_pb2.Share]


async def share(
    connection: Connection, cluster: str, member: str, rights: str | Iterable[str], end: float | None
) -> cluster_pb2.Cluster:
    """Let a member do this with a cluster, and nothing else any more."""
    new = cluster_pb2.Share(member=member_name(member), rights=rights_of(rights))
    if end is not None:
        new.expire_time.FromMilliseconds(int(end * 1000))

    def add(shares: Shares) -> Shares:
        return [*(one for one in shares if one.member != new.member), new]

    return await _change(connection, cluster, add)


async def unshare(connection: Connection, cluster: str, member: str) -> cluster_pb2.Cluster:
    """Take a member's rights on a cluster away."""
    name = member_name(member)

    def remove(shares: Shares) -> Shares:
        kept = [one for one in shares if one.member != name]
        if len(kept) == len(shares):
            raise InvalidRequest.of(Violation("member", f"cluster {cluster} is not shared with {name!r:.80}"))
        return kept

    return await _change(connection, cluster, remove)


async def _change(connection: Connection, cluster: str, change: Callable[[Shares], Shares]) -> cluster_pb2.Cluster:
    def write(existing: cluster_pb2.Cluster, changed: cluster_pb2.Cluster) -> None:
        changed.shares.extend(one for one in change(list(existing.shares)) if not _has_ended(one))

    return await rewrite(connection, cluster, "shares", write)


def _has_ended(share: cluster_pb2.Share) -> bool:
    return share.HasField("expire_time") and share.expire_time.ToMilliseconds() / 1000 <= time.time()
