"""Follows the measurements of this replica's clusters, and has a cluster planned when culling has to do something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from headrace_controller.culling.metric_rules import MetricRules
from headrace_controller.culling.observed import Observed, first
from headrace_controller.culling.rules import findings
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.plan.findings import Finding
from headrace_controller.policy.sections import Culling
from headrace_controller.signals.measured import Signals

_BEAT_SECONDS = 5.0
# Time between two beats after which this process did not run, for example because its machine slept.
_GAP_SECONDS = 60.0


class CullingWatch:
    """Knows since when each cluster has been observed; as a handler of the mirror it drops those that are gone.

    Parameters
    ----------
    policy
        Returns the rules in force, None if there are none.
    own
        Whether a cluster is this replica's.
    wake
        Has a cluster planned after some seconds.
    """

    def __init__(
        self,
        signals: Signals,
        metric_rules: MetricRules,
        mirror: ClusterMirror,
        *,
        policy: Callable[[], Culling | None],
        own: Callable[[ClusterId], bool],
        wake: Callable[[ClusterId, float], None],
        clock: Callable[[], float],
    ) -> None:
        self._signals = signals
        self._metric_rules = metric_rules
        self._mirror = mirror
        self._policy = policy
        self._own = own
        self._wake = wake
        self._clock = clock
        self._observed: dict[ClusterId, Observed] = {}
        self._beat = clock()

    def findings(self, cluster: Cluster) -> tuple[Finding, ...]:
        """Return what rules find about a cluster now."""
        if (policy := self._policy()) is None:
            return ()
        return self._find(cluster, policy, self._metric_rules.of(cluster.id))

    @property
    def rules(self) -> Culling | None:
        """The rules in force, None if there are none."""
        return self._policy()

    async def foresee(self, rules: Culling) -> tuple[Callable[[Cluster], tuple[Finding, ...]], Mapping[str, str]]:
        """Return `findings` as it would be with other rules, and by name what new queries say now."""
        metrics, news = await self._metric_rules.foresee(rules.rules)
        return lambda cluster: self._find(cluster, rules, metrics(cluster.id)), news

    async def run(self) -> None:
        """Notice when this process stands still, until cancelled."""
        while True:
            self._check_gap()
            await asyncio.sleep(_BEAT_SECONDS)

    def changed(self, cluster_id: ClusterId) -> None:
        """Take in what is measured of a cluster now, or what a rule of the administrator's says of it."""
        if (cluster := self._mirror.get(cluster_id)) is None or cluster.stopping or not self._own(cluster_id):
            return
        found, now = self.findings(cluster), self._clock()
        if cluster.status.warnings:
            self._wake(cluster_id, 0.0)
        elif times := [finding.due - finding.warn for finding in found if finding.due is not None]:
            self._wake(cluster_id, max(0.0, min(times) - now))

    def added(self, cluster: Cluster) -> None: ...

    def updated(self, old: Cluster, new: Cluster) -> None:
        del old
        if new.status.phase.ended:
            self._observed.pop(new.id, None)

    def removed(self, cluster: Cluster) -> None:
        self._observed.pop(cluster.id, None)

    def discard_all(self, shard: int) -> None:
        """Drop what was observed: a lease is lost, and what comes next of its clusters is not seen."""
        del shard
        self._observed.clear()

    def _find(self, cluster: Cluster, rules: Culling, metrics: Mapping[str, float | str]) -> tuple[Finding, ...]:
        return findings(cluster, rules, self._observe(cluster.id), metrics, self._clock())

    def _observe(self, cluster: ClusterId) -> Observed:
        self._check_gap()
        sample, before = self._signals.of(cluster), self._observed.get(cluster)
        observed = first(sample) if before is None else before.next(sample)
        self._observed[cluster] = observed
        return observed

    def _check_gap(self) -> None:
        """Drop what was observed before a time in which this process did not run."""
        now = self._clock()
        if not 0 <= now - self._beat < _GAP_SECONDS:
            self._observed.clear()
        self._beat = now
