"""When culling has a cluster planned."""

from __future__ import annotations

from tests.controller.builders import running_cluster
from tests.controller.signals.fake_signals import FakeSignals

from headrace_controller.culling.metric_rules import MetricRules
from headrace_controller.culling.observations import Observations
from headrace_controller.culling.watch import CullingWatch
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import ClusterId
from headrace_controller.policy.sections import Culling, IdleRule
from headrace_controller.signals.measured import Measured
from headrace_controller.store import Store

C1 = ClusterId("c1")
SHARD = 2  # of the cluster
POLICY = Culling(idle=IdleRule(after=600, warn=60))


class Replica:
    """The parts of a controller that watch, and what they have planned, after how many seconds."""

    def __init__(self, store: Store) -> None:
        self.now = 1000.0
        self.planned: list[tuple[ClusterId, float]] = []
        self.signals, mirror = FakeSignals(), ClusterMirror(store)
        self.observations = Observations(store, self.signals, shard=len, shards=3, interval=15, clock=self.clock)
        watch = CullingWatch(
            self.observations,
            MetricRules(self.signals, list, interval=15, clock=self.clock),
            mirror,
            policy=lambda: POLICY,
            own=lambda _: True,
            wake=lambda cluster, seconds: self.planned.append((cluster, seconds)),
            clock=self.clock,
        )
        self.signals.on_change(watch.changed)
        mirror.apply(running_cluster(name=C1, report={"idle_since": 900.0}))
        self.observations.gained(SHARD)

    def clock(self) -> float:
        return self.now

    def measure(self, now: float) -> None:
        self.now = now
        self.signals.set(C1, Measured(time=now, idle_since=900, active=900))


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
