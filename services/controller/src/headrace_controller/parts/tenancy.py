"""Limits, the queue, budgets, prices and culling."""

from __future__ import annotations

from functools import cached_property

from headrace_controller.admission import Admission
from headrace_controller.culling.metric_rules import MetricRules
from headrace_controller.culling.observations import Observations
from headrace_controller.culling.observed import Observed
from headrace_controller.culling.watch import CullingWatch
from headrace_controller.model import Cluster
from headrace_controller.parts.base import BaseParts
from headrace_controller.parts.measurements import MeasurementParts
from headrace_controller.plan.findings import Finding
from headrace_controller.policy.file import PolicyFile
from headrace_controller.policy.sections import Culling
from headrace_controller.queueing.limit_exceptions import LimitExceptions
from headrace_controller.queueing.lowering import Lowering
from headrace_controller.queueing.order import Order
from headrace_controller.queueing.recharging import Recharging
from headrace_controller.queueing.serving import Serving
from headrace_controller.usage.budgets import BudgetWatch
from headrace_controller.usage.pricing import Pricing


class TenancyParts:
    def __init__(self, base: BaseParts, measurements: MeasurementParts) -> None:
        self._base = base
        self._measurements = measurements

    @cached_property
    def admission(self) -> Admission:
        return Admission(
            self._base.current_policy.policy,
            self._base.profiles,
            self.budgets.check_growth,
            self.limit_exceptions.apply,
        )

    @cached_property
    def limit_exceptions(self) -> LimitExceptions:
        return LimitExceptions(self._base.store, clock=self._base.clock)

    @cached_property
    def budgets(self) -> BudgetWatch:
        return BudgetWatch(
            self._base.store,
            self._base.mirror,
            policy=lambda: self._base.current_policy.policy,
            own=self._base.shards.own,
            wake=self._base.queue.add_after,
            clock=self._base.clock,
        )

    @property
    def culling(self) -> Culling:
        """Rules of culling."""
        return self._base.current_policy.policy.culling

    @cached_property
    def metric_rules(self) -> MetricRules:
        return MetricRules(
            self._measurements.signals,
            lambda: self.culling.rules,
            interval=self._base.settings.signals.interval_seconds,
            clock=self._base.clock,
        )

    @cached_property
    def observations(self) -> Observations:
        return Observations(
            self._base.store,
            self._measurements.signals,
            shard=self._base.shards.of,
            shards=self._base.settings.shards,
            interval=self._base.settings.signals.interval_seconds,
            clock=self._base.clock,
        )

    @cached_property
    def culling_watch(self) -> CullingWatch:
        return CullingWatch(
            self.observations,
            self.metric_rules,
            self._base.mirror,
            policy=lambda: self.culling,
            own=self._base.shards.own,
            wake=self._base.queue.add_after,
            clock=self._base.clock,
        )

    def findings(self, cluster: Cluster, observed: Observed | None = None) -> tuple[Finding, ...]:
        """Return what rules of culling and budgets find about a cluster, by what this or another replica observed."""
        return (*self.culling_watch.findings(cluster, observed), *self.budgets.findings(cluster))

    def follow_culling(self, _policy: PolicyFile) -> None:
        """Have all clusters planned with new rules."""
        for cluster in self._base.shards.all_own():
            self._base.queue.add(cluster)

    @cached_property
    def order(self) -> Order:
        return Order(clock=self._base.clock)

    @cached_property
    def serving(self) -> Serving:
        return Serving(
            self._base.store,
            self._base.mirror,
            self.admission,
            self.order,
            own=self._base.shards.own,
            wake=self._base.queue.add,
            budgets_known=self.budgets.known,
            clock=self._base.clock,
        )

    @cached_property
    def recharging(self) -> Recharging:
        return Recharging(self._base.store, self._base.mirror, self.admission, self._base.shards.all_own)

    @cached_property
    def lowering(self) -> Lowering:
        return Lowering(
            self._base.store, self._base.mirror, self.admission, own=self._base.shards.own, clock=self._base.clock
        )

    @cached_property
    def pricing(self) -> Pricing:
        return Pricing(self._base.store, self._base.mirror, self._base.shards.all_own)
