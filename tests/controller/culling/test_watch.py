"""When culling has a cluster planned."""

from __future__ import annotations

from typing import Any

import pytest
from tests.controller.builders import running_cluster
from tests.controller.signals.fake_signals import FakeSignals

from headrace_controller.culling.metric_rules import MetricRules
from headrace_controller.culling.observations import Observations
from headrace_controller.culling.watch import CullingWatch
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import ClusterId
from headrace_controller.policy.sections import Culling, CullRule, IdleRule
from headrace_controller.signals.measured import Measured
from headrace_controller.store import Store

C1 = ClusterId("c1")
SHARD = 2  # of the cluster
POLICY = Culling(idle=IdleRule(after=600, warn=60), nobody_connected=CullRule(after=700, warn=60))


class Replica:
    """The parts of a controller that watch, and what they have planned, after how many seconds."""

    def __init__(self, store: Store) -> None:
        self.now = 1000.0
        self.planned: list[tuple[ClusterId, float]] = []
        self.signals, self.mirror = FakeSignals(), ClusterMirror(store)
        self.observations = Observations(store, self.signals, shard=len, shards=3, interval=15, clock=self.clock)
        watch = CullingWatch(
            self.observations,
            MetricRules(self.signals, list, interval=15, clock=self.clock),
            self.mirror,
            policy=lambda: POLICY,
            own=lambda _: True,
            wake=lambda cluster, seconds: self.planned.append((cluster, seconds)),
            clock=self.clock,
        )
        self.mirror.connect(watch)
        self.signals.on_change(watch.changed)
        self.observations.on_load(watch.changed)
        self.report(1, idle_since=900.0)
        self.observations.gained(SHARD)

    def clock(self) -> float:
        return self.now

    def measure(self, now: float) -> None:
        self.now = now
        self.signals.set(C1, Measured(time=now, idle_since=900, active=900))

    def report(self, revision: int, **facts: Any) -> None:
        self.mirror.apply(running_cluster(name=C1, revision=revision, report=facts))


async def test_a_cluster_is_planned_once_what_was_observed_of_it_before_is_loaded(store: Store) -> None:
    before, after = Replica(store), Replica(store)
    await before.observations.step()
    before.measure(1000)
    before.measure(1050)
    await before.observations.step()
    after.measure(1100)
    assert after.planned == []
    await after.observations.step()
    assert after.planned == [(C1, 1000 + 50 + 600 - 60 - 1100)]  # time in which nobody measured does not count


@pytest.mark.parametrize(
    ("before", "after", "due"),
    [
        ({"idle_since": None}, {"idle_since": 900.0}, 600),
        ({"idle_since": None, "clients": 1}, {"idle_since": None, "clients": 0}, 700),
    ],
    ids=["idle", "nobody connected"],
)
async def test_a_cluster_is_planned_when_its_agent_reports_last_what_was_measured(
    store: Store, before: dict[str, Any], after: dict[str, Any], due: float
) -> None:
    replica = Replica(store)
    await replica.observations.step()
    replica.report(2, **before)
    replica.measure(1000)
    replica.planned.clear()
    replica.report(3, **before)
    assert replica.planned == []
    replica.report(4, **after)
    assert replica.planned == [(C1, due - 60)]
