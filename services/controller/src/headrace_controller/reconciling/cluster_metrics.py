"""Counts all clusters of the deployment, for the metrics. Each replica counts the same."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from headrace_controller import metrics
from headrace_controller.model import Cluster, Phase

if TYPE_CHECKING:
    from prometheus_client import Gauge

_PROMISED: dict[str, tuple[Gauge, float]] = {
    "clusters": (metrics.PROMISED_CLUSTERS, 1),
    "workers": (metrics.PROMISED_WORKERS, 1),
    "cores": (metrics.PROMISED_CORES, 1 / 1000),
    "memory": (metrics.PROMISED_MEMORY, 2**20),
    "gpus": (metrics.PROMISED_GPUS, 1),
}


class ClusterMetrics:
    """A handler of the mirror: what is counted follows each change, so that the page costs nothing per cluster."""

    def __init__(self) -> None:
        self._phases: Counter[Phase] = Counter()
        self._promised: Counter[tuple[str, str]] = Counter()  # by name and profile, in the units of the meter
        for phase in Phase:
            metrics.CLUSTERS.labels(phase).set(0)

    def added(self, cluster: Cluster) -> None:
        self._count(cluster, 1)

    def updated(self, old: Cluster, new: Cluster) -> None:
        if old.status.phase is not new.status.phase or old.meter.rates != new.meter.rates:
            self._count(old, -1)
            self._count(new, 1)

    def removed(self, cluster: Cluster) -> None:
        self._count(cluster, -1)

    def _count(self, cluster: Cluster, sign: int) -> None:
        phase, profile = cluster.status.phase, cluster.spec.profile
        self._phases[phase] += sign
        metrics.CLUSTERS.labels(phase).set(self._phases[phase])
        for name, (gauge, unit) in _PROMISED.items():
            self._promised[name, profile] += sign * getattr(cluster.meter.rates, name)
            gauge.labels(profile).set(self._promised[name, profile] * unit)
