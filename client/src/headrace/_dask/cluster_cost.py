"""What a cluster has cost so far, in one word and one number."""

from __future__ import annotations

from headrace._wire import costs
from headrace.v1 import cluster_pb2


def spent(usage: cluster_pb2.ClusterUsage, now: float | None = None) -> tuple[str, str] | None:
    """Return ("cost", "1.23 EUR"), or ("core_hours", "4.50") where nothing has a price; None if it is not known.

    `now` is in seconds since the epoch.
    """
    if not usage.HasField("as_of"):
        return None
    cost, core_hours = costs.so_far(usage, now)
    if usage.cost or usage.cost_per_hour:
        return "cost", costs.money(cost, usage.currency)
    return "core_hours", f"{core_hours:.2f}"
