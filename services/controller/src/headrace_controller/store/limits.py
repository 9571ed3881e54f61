"""Limits as the scripts take them, and the error for the one that binds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.errors import QuotaExceeded
from headrace_chassis.redis.lua import Argument
from headrace_controller.model import Demand, Limits
from headrace_controller.store.codec import pack_demand
from headrace_controller.store.values import DEPLOYMENT

_WHAT = ("clusters", "workers", "cores", "memory_bytes")
_CORES = 2


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits by subject, in the order in which they are checked."""

    limits: Mapping[str, Limits]

    def arguments(self) -> list[Argument]:
        """Their number, then five arguments each, as `refusal` in record.lua reads them."""
        each = (
            argument
            for subject, limits in self.limits.items()
            for argument in (_whose(subject), *("" if bound is None else bound for bound in _values(limits)))
        )
        return [len(self.limits), *each]

    def exceeded(self, which: int, resource: int, used: int, had: int, demand: Demand) -> QuotaExceeded:
        """Makes the error from a script's answer {'limit', which, resource, used, had}."""
        subject = list(self.limits)[which - 1]
        limit = _values(self.limits[subject])[resource - 1]
        assert limit is not None
        facts = (limit, used, pack_demand(demand)[resource - 1] - had)
        if resource - 1 == _CORES:  # people count whole cores
            facts = (limit // 1000, -(-used // 1000), -(-facts[2] // 1000))
        return QuotaExceeded.of(
            subject=subject, what=_WHAT[resource - 1], limit=facts[0], used=facts[1], asked=facts[2]
        )


def _values(limits: Limits) -> tuple[int | None, int | None, int | None, int | None]:
    return limits.clusters, limits.workers, limits.cores_milli, limits.memory_bytes


def _whose(subject: str) -> str:
    if subject == DEPLOYMENT:
        return "deployment"
    kind = {"users": "owner", "clusters": "cluster"}.get(subject.partition("/")[0])
    if kind is None:
        raise ValueError(f"no limit can be on {subject!r}; name users/..., clusters/... or {DEPLOYMENT}")
    return kind
