"""What a cluster has cost, from its record as last seen."""

from __future__ import annotations

import time

from headrace.v1 import cluster_pb2

_HOUR = 3600.0


def so_far(usage: cluster_pb2.ClusterUsage, now: float | None = None) -> tuple[float, float]:
    """Return cost and core-hours up to now. Since the record was seen, the cluster counts as it was then.

    `now` is in seconds since the epoch.
    """
    hours = max(0.0, (time.time() if now is None else now) - usage.as_of.ToMilliseconds() / 1000) / _HOUR
    return usage.cost + usage.cost_per_hour * hours, usage.core_seconds / _HOUR + usage.cores * hours


def money(amount: float, currency: str) -> str:
    """Return an amount for people: "1.23 EUR"."""
    return f"{amount:.2f} {''.join(filter(str.isprintable, currency))}".rstrip()
