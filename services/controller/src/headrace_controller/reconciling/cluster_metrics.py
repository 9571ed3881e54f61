"""Counts all clusters of the deployment, for the metrics: each replica the same, but what happens to its own only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from headrace.open_enum import OpenEnum
from headrace.v1.enums import EventType
from headrace_controller import metrics
from headrace_controller.model import Cluster, EndReason, Phase
from headrace_controller.store import Change

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
    """A handler of the mirror: what is counted follows each change, so that the page costs nothing per cluster.

    Parameters
    ----------
    own
        Whether a cluster is this replica's.
    """

    def __init__(self, own: Callable[[str], bool], *, clock: Callable[[], float]) -> None:
        self._own = own
        self._clock = clock
        self._queued: Counter[str] = Counter()  # by profile
        self._phases: Counter[Phase] = Counter()
        self._promised: Counter[tuple[str, str]] = Counter()  # by name and profile, in the units of the meter
        for phase in Phase:
            metrics.CLUSTERS.labels(phase).set(0)
        # A counter that appears with the first of its kind has not increased.
        for kind in EventType:
            metrics.EVENTS.labels(kind)
        for reason in EndReason:
            metrics.ENDS.labels(reason)

    def added(self, cluster: Cluster) -> None:
        self._count(cluster, 1)

    def on_change(self, change: Change) -> None:
        """Count the events of this replica's clusters, also those that other replicas wrote."""
        if change.event is not None and self._own(change.cluster):
            metrics.EVENTS.labels(_label(change.event.type)).inc()

    def updated(self, old: Cluster, new: Cluster) -> None:
        if old.status.phase is not new.status.phase and self._own(new.id):
            self._note_end_of_phase(old, new)
        if old.status.phase is not new.status.phase or old.meter.rates != new.meter.rates:
            self._count(old, -1)
            self._count(new, 1)

    def removed(self, cluster: Cluster) -> None:
        self._count(cluster, -1)

    def _count(self, cluster: Cluster, sign: int) -> None:
        phase, profile = cluster.status.phase, cluster.spec.profile
        self._phases[phase] += sign
        metrics.CLUSTERS.labels(phase).set(self._phases[phase])
        if phase is Phase.QUEUED:
            self._queued[profile] += sign
            metrics.QUEUED_CLUSTERS.labels(profile).set(self._queued[profile])
        for name, (gauge, unit) in _PROMISED.items():
            self._promised[name, profile] += sign * getattr(cluster.meter.rates, name)
            gauge.labels(profile).set(self._promised[name, profile] * unit)

    def _note_end_of_phase(self, old: Cluster, new: Cluster) -> None:
        queued, reason = new.queued, _label(new.status.reason)
        if old.status.phase is Phase.QUEUED and queued is not None:
            admitted = queued.admitted
            waited = (self._clock() if admitted is None else admitted) - queued.since
            outcome = reason if admitted is None else "admitted"
            metrics.QUEUE_WAIT_SECONDS.labels(outcome).observe(max(0.0, waited))
        if new.status.phase.ended:
            metrics.ENDS.labels(reason).inc()


def _label(value: OpenEnum | None) -> str:
    """Return a value of a metric's label: agents and other releases must not add unknown ones."""
    return value if value is not None and value.name in type(value).__members__ else "other"
