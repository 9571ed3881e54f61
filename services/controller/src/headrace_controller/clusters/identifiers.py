"""Random identifiers: DNS-safe and never used again."""

from __future__ import annotations

import re
import secrets

from headrace_controller.model import ClusterId, WorkerId

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_WORKER = re.compile(r"(?P<group>[a-z0-9-]{1,63})-(?P<number>[0-9]{1,9})-[a-z2-7]{6}")


def new_cluster_id() -> ClusterId:
    """A new cluster's id."""
    return ClusterId("c" + _random(19))


def new_worker_id(group: str, number: int) -> WorkerId:
    """The id of the n-th worker of a cluster."""
    return WorkerId(f"{group}-{number}-{_random(6)}")


def parse_worker_id(worker: str) -> tuple[str, int] | None:
    """Group and number of a worker, or None if this is no worker's id."""
    match = _WORKER.fullmatch(worker)
    return (match["group"], int(match["number"])) if match else None


def _random(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))
