"""What the culling rules and the budgets of another policy would do to clusters, by the code that does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.resource_names import cluster_name
from headrace_controller.culling.watch import CullingWatch
from headrace_controller.loops import in_turns
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.plan.findings import Finding
from headrace_controller.plan.sentences import count, duration
from headrace_controller.policing.effects import Effect
from headrace_controller.policy.file import PolicyFile
from headrace_controller.policy.sections import Budgets
from headrace_controller.usage.budgets import BudgetWatch, warning


@dataclass(frozen=True, kw_only=True)
class Prospects:
    """Foresees which clusters another policy would soon warn or stop.

    Attributes
    ----------
    findings
        What the policy in force finds about a cluster.
    """

    culling: CullingWatch
    budgets: BudgetWatch
    findings: Callable[[Cluster], tuple[Finding, ...]]
    clock: Callable[[], float]

    async def effects(self, clusters: Sequence[Cluster], after: PolicyFile) -> list[Effect]:
        """Return what another policy would do to living clusters at once, or after no more than its warning."""
        culled, news = await self.culling.foresee(after.culling)
        standings = await self.budgets.foresee(after)
        found = [
            Effect(_budget_key(one.bound.subject, after.budgets), one.bound.subject, warning(one))
            for one in standings
            if one.warns
        ]
        unknown = set[ClusterId]()
        async for cluster in in_turns(clusters):
            then = (*culled(cluster), *self.budgets.findings(cluster, after))
            if any(finding.due is None for finding in then):
                unknown.add(cluster.id)
            found += self._of(cluster, then)
        found += [Effect("culling.rules", "deployment", f"the rule {name!r}: {what}") for name, what in news.items()]
        if unknown and self.culling.rules != after.culling:
            which = count(len(unknown), "cluster")
            message = f"what rules would do to {which} is not known: this replica has no measurement, or a query failed"
            found.append(Effect("culling", "deployment", message))
        return found

    def _of(self, cluster: Cluster, then: Sequence[Finding]) -> list[Effect]:
        """What is done to a cluster earlier than now."""
        if cluster.stopping or not then:
            return []
        now, warned = self.clock(), cluster.status.warnings
        before = {finding.key: finding.times(warned.get(finding.key), now) for finding in self.findings(cluster)}
        found: list[Effect] = []
        for finding in then:
            times, was = finding.times(warned.get(finding.key), now), before.get(finding.key)
            if times is None or times[0] > now + finding.warn or (was is not None and was[1] <= times[1] + 1):
                continue
            warn, act = (_when(time - now) for time in times)
            done = f"{finding.action.done} {act}"
            what = f"is {done}" if not finding.warn or finding.key in warned else f"is warned {warn}, and {done}"
            key = "budgets" if finding.rule == "budget" else f"culling.{finding.rule.partition('/')[0]}"
            found.append(Effect(key, cluster_name(cluster.id), f"{what}, because {finding.why}", cluster.owner))
        return found


def _when(seconds: float) -> str:
    return f"in {duration(round(seconds))}" if seconds >= 1 else "at once"


def _budget_key(subject: str, budgets: Budgets) -> str:
    """The path of the budgets of a subject."""
    kind, _, name = subject.partition("/")
    if kind == "groups":
        return f"budgets.groups.{name}"
    return f"budgets.users.{name}" if name in budgets.users else "budgets.user"
