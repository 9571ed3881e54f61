"""Whom the culling rules of another policy would warn or stop soon."""

from __future__ import annotations

from typing import Any

import pytest
from tests.controller.builders import running_cluster
from tests.controller.signals.fake_signals import FakeSignals

from headrace_controller.culling.metric_rules import MetricRules
from headrace_controller.culling.observations import Observations
from headrace_controller.culling.watch import CullingWatch
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId, Group
from headrace_controller.policing.effects import Effect
from headrace_controller.policing.prospects import Prospects
from headrace_controller.policy.file import PolicyFile
from headrace_controller.signals.measured import Measured
from headrace_controller.store import Store
from headrace_controller.usage.budgets import BudgetWatch

C1 = ClusterId("c1")
HOUR = "culling: {idle: {after: 1 h, warn: 5 min}}"


def _own(_cluster: ClusterId) -> bool:
    return True


def _wake(_cluster: ClusterId, _seconds: float) -> None: ...


class Replica:
    """The parts of a controller that decide, at the time 5000, with a policy in force and a cluster idle since 3000."""

    def __init__(self, store: Store) -> None:
        self.policy = PolicyFile.read(HOUR)
        self.now = 0.0
        self.signals = FakeSignals()
        mirror, clock = ClusterMirror(store), lambda: self.now
        self.rules = MetricRules(self.signals, lambda: self.policy.culling.rules, interval=15, clock=clock)
        observations = Observations(store, self.signals, shard=len, shards=3, interval=15, clock=clock)
        culling = CullingWatch(
            observations, self.rules, mirror, policy=lambda: self.policy.culling, own=_own, wake=_wake, clock=clock
        )
        budgets = BudgetWatch(store, mirror, policy=PolicyFile, own=_own, wake=_wake, clock=clock)
        self.prospects = Prospects(culling=culling, budgets=budgets, findings=culling.findings, clock=clock)
        for self.now in range(3000, 5001, 50):  # without a gap
            self.signals.set(C1, Measured(time=self.now, idle_since=3000, active=3000))
            culling.findings(idle())

    async def foresee(self, policy: str, *clusters: Cluster) -> list[Effect]:
        return await self.prospects.effects(clusters or [idle()], PolicyFile.read(policy))


@pytest.fixture
def replica(store: Store) -> Replica:
    return Replica(store)


def idle(name: str = "c1", **status: Any) -> Cluster:
    report = {"idle_since": 3000.0}
    return running_cluster(name=name, groups=[Group(size=1)], report=report, status={"started": 1000.0, **status})


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (
            "{idle: {after: 10 min, warn: 2 min}}",
            ["is warned at once, and stopped in 2 min, because it has been idle for 33 min 20 s"],
        ),
        ("{idle: {after: 10 min, warn: 0}}", ["is stopped at once, because it has been idle for 33 min 20 s"]),
        (
            "{idle: {after: 2500, warn: 300}}",  # warned within the time of the warning
            ["is warned in 3 min 20 s, and stopped in 8 min 20 s, because it has been idle for 33 min 20 s"],
        ),
        ("{idle: {after: 3000, warn: 300}}", []),  # later
        (
            "{idle: {after: 10 min, warn: 60, action: scale_to_zero, then_stop: 10 min}}",
            [
                "is warned at once, and scaled to zero workers in 1 min, because it has been idle for 33 min 20 s",
                "is warned at once, and stopped in 1 min, because it has been idle for 33 min 20 s",
            ],
        ),
        ("{idle: {after: 90 min}}", []),
        ("{idle: null}", []),
    ],
)
async def test_who_is_warned_or_stopped_at_once_by_a_shorter_rule_is_named(
    replica: Replica, rules: str, told: list[str]
) -> None:
    found = await replica.foresee(f"culling: {rules}")
    assert found == [Effect("culling.idle", "clusters/c1", message, "ann") for message in told]


async def test_who_is_warned_already_is_named_only_if_it_comes_earlier(replica: Replica) -> None:
    warned = idle(warnings={"idle:stop": 4990.0})
    replica.policy = PolicyFile.read("culling: {idle: {after: 30 min, warn: 5 min}}")
    assert await replica.foresee("culling: {idle: {after: 20 min, warn: 5 min}}", warned) == []
    [found] = await replica.foresee("culling: {idle: {after: 20 min, warn: 1 min}}", warned)
    assert found.message.startswith("is stopped in 50 s, because")


async def test_a_new_rule_in_promql_is_asked_once_and_nothing_is_changed(replica: Replica) -> None:
    replica.signals.answers["waste > 0"] = {C1: 1.0, ClusterId("c2"): 0.0}
    rule = "{name: waste, query: 'waste > 0', after: 60, warn: 60}"
    policy = "culling: {idle: {after: 1 h, warn: 5 min}, rules: [%s]}"
    assert await replica.foresee(policy % rule) == [
        Effect(
            "culling.rules",
            "clusters/c1",
            "is warned at once, and stopped in 1 min, because the rule 'waste' of your administrator has held for 0 s",
            "ann",
        ),
        Effect("culling.rules", "deployment", "the rule 'waste': it holds for 1 cluster now"),
    ]
    assert replica.rules.of(C1) == {}
    failed, unknown = await replica.foresee(policy % rule.replace("> 0", ">"), idle("c1"), idle("c2"))
    assert failed.message.startswith("the rule 'waste': its query failed: ")
    assert unknown.message.startswith("what rules would do to 2 clusters is not known")


async def test_what_this_replica_does_not_measure_is_said_to_be_unknown(replica: Replica) -> None:
    found = await replica.foresee("culling: {idle: {after: 10 min, warn: 2 min}}", idle("c1"), idle("c2"))
    assert [one.subject for one in found] == ["clusters/c1", "deployment"]
    assert (
        found[1].message
        == "what rules would do to 1 cluster is not known: this replica has no measurement, or a query failed"
    )
    assert await replica.foresee(HOUR, idle("c2")) == []
