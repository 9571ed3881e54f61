"""Random identifiers: DNS-safe, never reused."""

from __future__ import annotations

import re
import secrets

from headrace_controller.model import ClusterId, WorkerId

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_WORKER = re.compile(r"(?P<group>[a-z0-9-]{1,63})-(?P<number>[0-9]{1,9})-[a-z2-7]{6}")


def new_cluster_id() -> ClusterId:
    return ClusterId("c" + _random(19))


def new_worker_id(group: str, number: int) -> WorkerId:
    """Return an id for the worker with this number in its cluster."""
    return WorkerId(f"{group}-{number}-{_random(6)}")


def parse_worker_id(worker: str) -> tuple[str, int] | None:
    """Return group and number of a worker, or None if this is not the id of a worker."""
    match = _WORKER.fullmatch(worker)
    return (match["group"], int(match["number"])) if match else None


def _random(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))
