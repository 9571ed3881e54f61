"""What the owners with the most are promised, for the metrics: a bounded number of them, however many there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from heapq import nlargest

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace_controller.meter import Rates
from headrace_controller.model import Cluster, UserId

_SHOWN = (
    ("clusters", "clusters", "Clusters that count in limits", 1),
    ("workers", "workers", "Workers that are promised", 1),
    ("cores", "cores", "Cores that are promised", 1 / 1000),
    ("memory", "memory_bytes", "Memory that is promised", 2**20),
    ("gpus", "gpus", "GPUs that are promised", 1),
)


class OwnerMetrics(Collector):
    """A handler of the mirror, and what the page asks from a thread of its own.

    Parameters
    ----------
    most
        Owners that are shown: those that are promised the most cores.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._promised: defaultdict[UserId, list[float]] = defaultdict(lambda: [0.0] * len(_SHOWN))

    def added(self, cluster: Cluster) -> None:
        self._count(cluster.owner, cluster.meter.rates, 1)

    def updated(self, old: Cluster, new: Cluster) -> None:
        if old.meter.rates != new.meter.rates:
            self._count(old.owner, old.meter.rates, -1)
            self._count(new.owner, new.meter.rates, 1)

    def removed(self, cluster: Cluster) -> None:
        self._count(cluster.owner, cluster.meter.rates, -1)

    def _count(self, owner: UserId, rates: Rates, sign: int) -> None:
        before = self._promised[owner]
        sums = [each + sign * getattr(rates, name) for each, (name, *_) in zip(before, _SHOWN, strict=True)]
        if any(sums):
            self._promised[owner] = sums
        else:
            del self._promised[owner]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the numbers of those that are shown."""
        shown = nlargest(self._most, self._promised.copy().items(), key=_cores)
        for place, (_, name, what, unit) in enumerate(_SHOWN):
            text = f"{what}, by owner: those with the most cores only. Each replica says the same."
            family = GaugeMetricFamily(f"headrace_controller_owner_promised_{name}", text, labels=["owner"])
            for owner, sums in shown:
                family.add_metric([owner], sums[place] * unit)
            yield family


def _cores(promised: tuple[UserId, list[float]]) -> tuple[float, float]:
    clusters, _, cores, *_ = promised[1]
    return cores, clusters
