"""Follows what is observed of this replica's clusters, and has one planned when culling has to do something."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from headrace_controller.culling.metric_rules import MetricRules
from headrace_controller.culling.observations import Observations
from headrace_controller.culling.observed import Observed
from headrace_controller.culling.rules import findings
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.plan.findings import Finding
from headrace_controller.policy.sections import Culling


class CullingWatch:
    """Tells what rules find about a cluster; as a handler of the mirror it hears what agents report.

    Parameters
    ----------
    policy
        Returns the rules in force.
    own
        Whether a cluster is this replica's.
    wake
        Has a cluster planned after some seconds.
    """

    def __init__(
        self,
        observations: Observations,
        metric_rules: MetricRules,
        mirror: ClusterMirror,
        *,
        policy: Callable[[], Culling],
        own: Callable[[ClusterId], bool],
        wake: Callable[[ClusterId, float], None],
        clock: Callable[[], float],
    ) -> None:
        self._observations = observations
        self._metric_rules = metric_rules
        self._mirror = mirror
        self._policy = policy
        self._own = own
        self._wake = wake
        self._clock = clock

    def findings(self, cluster: Cluster, observed: Observed | None = None) -> tuple[Finding, ...]:
        """Return what rules find about a cluster now, by what this replica, or another one, has observed."""
        return self._find(cluster, self._policy(), self._metric_rules.of(cluster.id), observed)

    @property
    def rules(self) -> Culling:
        """The rules in force."""
        return self._policy()

    async def foresee(self, rules: Culling) -> tuple[Callable[[Cluster], tuple[Finding, ...]], Mapping[str, str]]:
        """Return `findings` as it would be with other rules, and by name what new queries say now."""
        metrics, news = await self._metric_rules.foresee(rules.rules)
        return lambda cluster: self._find(cluster, rules, metrics(cluster.id)), news

    def added(self, cluster: Cluster) -> None: ...

    def updated(self, old: Cluster, new: Cluster) -> None:
        """Look again if the agent reports what a sample has said before: until both say it, a state does not hold."""
        was, is_now = old.report, new.report
        if (was.clients and not is_now.clients) or (was.idle_since is None and is_now.idle_since is not None):
            self.changed(new.id)

    def removed(self, cluster: Cluster) -> None: ...

    def changed(self, cluster_id: ClusterId) -> None:
        """Take in what is measured of a cluster now, or what a rule of the administrator's says of it."""
        if (cluster := self._mirror.get(cluster_id)) is None or cluster.stopping or not self._own(cluster_id):
            return
        found, now = self.findings(cluster), self._clock()
        if cluster.status.warnings:
            self._wake(cluster_id, 0.0)
        elif times := [finding.due - finding.warn for finding in found if finding.due is not None]:
            self._wake(cluster_id, max(0.0, min(times) - now))

    def _find(
        self, cluster: Cluster, rules: Culling, metrics: Mapping[str, float | str], observed: Observed | None = None
    ) -> tuple[Finding, ...]:
        return findings(cluster, rules, observed or self._observations.of(cluster.id), metrics, self._clock())
