"""What a replica keeps in mind of its clusters, and in the store."""

from __future__ import annotations

import pytest
from tests.controller.signals.fake_signals import FakeSignals

from headrace_controller.culling.observations import Observations
from headrace_controller.culling.observed import Observed
from headrace_controller.model import ClusterId
from headrace_controller.signals.measured import Absence, Measured, NotMeasured
from headrace_controller.store import Store

C1, C2 = ClusterId("c"), ClusterId("cc")  # of shards 1 and 2


class Replica:
    def __init__(self, store: Store) -> None:
        self.now = 1000.0
        self.signals = FakeSignals()
        self.observations = Observations(store, self.signals, shard=len, shards=3, interval=15, clock=lambda: self.now)
        self.observations.gained(1)

    def measure(self, seconds: float = 15) -> None:
        self.now += seconds
        for cluster in (C1, C2):
            self.signals.set(cluster, Measured(time=self.now, idle_since=900, active=900))
            self.observations.of(cluster)

    def since(self, cluster: ClusterId) -> float:
        return self.observations.of(cluster).since


@pytest.fixture
def replica(store: Store) -> Replica:
    return Replica(store)


async def test_a_shard_that_is_lost_takes_its_own_clusters_along_only(replica: Replica) -> None:
    await replica.observations.step()
    replica.measure()
    replica.observations.lost(2)
    replica.measure()
    assert (replica.since(C1), replica.since(C2)) == (1015, 1030)


async def test_what_was_observed_is_kept_for_the_next_holder_of_the_shard(replica: Replica, store: Store) -> None:
    await replica.observations.step()
    for _ in range(3):
        replica.measure()
    await replica.observations.step()
    other = Replica(store)
    other.measure(100)  # before it has loaded what is kept
    await other.observations.step()
    assert (other.since(C1), other.observations.of(C1).pauses) == (1015, ((1045, 1100),))
    assert (other.since(C2), other.observations.of(C2).pauses) == (1100, ())  # of a shard that nobody had


async def test_nothing_is_known_of_a_cluster_until_what_was_observed_before_is_loaded(replica: Replica) -> None:
    loaded: list[ClusterId] = []
    replica.observations.on_load(loaded.append)
    replica.measure()
    assert replica.observations.of(C1) == Observed(sample=NotMeasured(absence=Absence.MISSING))
    assert loaded == []
    await replica.observations.step()
    assert (replica.since(C1), loaded) == (1015, [C1])


async def test_what_cannot_be_read_begins_again(replica: Replica, store: Store) -> None:
    await store.observations.save(1, b"nonsense")
    await replica.observations.step()
    replica.measure()
    assert replica.since(C1) == 1015


async def test_time_in_which_the_process_stood_still_is_a_pause(replica: Replica) -> None:
    await replica.observations.step()
    replica.measure()
    replica.measure(300)
    assert replica.observations.of(C1).pauses == ((1015, 1315),)


async def test_what_was_not_measured_for_a_day_is_forgotten(replica: Replica, store: Store) -> None:
    await replica.observations.step()
    replica.measure()
    replica.signals.let_go_stale(C1)
    replica.now += 2 * 86400
    await replica.observations.step()
    assert await store.observations.load(1) is None


async def test_what_others_keep_is_known_while_it_is_new(replica: Replica, store: Store) -> None:
    replica.observations.gained(2)
    await replica.observations.step()
    for _ in range(3):
        replica.measure()
    await replica.observations.step()
    other = Replica(store)
    other.now = replica.now + 20
    assert list(known := await other.observations.of_others()) == [C2]
    assert (known[C2].since, known[C2].sample) == (1015, Measured(time=1045, idle_since=900, active=900))
    other.now += 4
    assert await other.observations.of_others() is known  # however often somebody asks
    other.now += 200
    assert isinstance((await other.observations.of_others())[C2].sample, NotMeasured)
