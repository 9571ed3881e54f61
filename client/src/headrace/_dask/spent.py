"""What a cluster has cost so far, from its record as last seen."""

from __future__ import annotations

import time

from headrace.v1 import cluster_pb2

_HOUR = 3600.0


def spent(usage: cluster_pb2.ClusterUsage, now: float | None = None) -> tuple[str, str] | None:
    """Return ("cost", "1.23 EUR"), or ("core_hours", "4.50") where nothing has a price; None if it is not known.

    `now` is in seconds since the epoch. Since the record was seen, the cluster counts as it was then.
    """
    if not usage.HasField("as_of"):
        return None
    hours = max(0.0, (time.time() if now is None else now) - usage.as_of.ToMilliseconds() / 1000) / _HOUR
    if usage.cost or usage.cost_per_hour:
        currency = "".join(letter for letter in usage.currency if letter.isprintable())
        return "cost", f"{usage.cost + usage.cost_per_hour * hours:.2f} {currency}".rstrip()
    return "core_hours", f"{usage.core_seconds / _HOUR + usage.cores * hours:.2f}"
