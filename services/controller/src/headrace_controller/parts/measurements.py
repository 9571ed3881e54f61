"""What measures clusters, and what shows the measurements."""

from __future__ import annotations

from functools import cached_property

from headrace_controller.parts.base import BaseParts
from headrace_controller.reconciling.cluster_metrics import ClusterMetrics
from headrace_controller.reconciling.live_schedulers import LiveSchedulers
from headrace_controller.signals.make import make_signals
from headrace_controller.signals.rounds import MeasuredSignals
from headrace_controller.signals.service_discovery import target_groups, worker_target_groups
from headrace_controller.usage.measuring import Measuring


class MeasurementParts:
    def __init__(self, base: BaseParts) -> None:
        self._base = base

    @cached_property
    def cluster_metrics(self) -> ClusterMetrics:
        return ClusterMetrics(self._base.shards.own, clock=self._base.clock)

    @cached_property
    def live_schedulers(self) -> LiveSchedulers:
        return LiveSchedulers(self._base.mirror, self._base.shards)

    @cached_property
    def signals(self) -> MeasuredSignals:
        return make_signals(
            self._base.settings.signals, self.live_schedulers.own, self._base.metrics_keys.of, clock=self._base.clock
        )

    def list_schedulers(self) -> bytes:
        """Returns the list that Prometheus asks for, from a thread."""
        return target_groups(self.live_schedulers.all(), self._base.metrics_keys.of)

    def list_workers(self) -> bytes:
        """Returns the same of their workers."""
        return worker_target_groups(self.live_schedulers.all(), self._base.metrics_keys.of)

    @cached_property
    def measuring(self) -> Measuring:
        return Measuring(lambda: self.signals, self._base.store, self._base.mirror, self._base.shards.all_own)
