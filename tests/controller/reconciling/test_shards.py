"""Which clusters are this replica's."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from tests.controller.builders import new_cluster

from headrace_chassis.redis.leases import ShardLeases, shard_of
from headrace_controller.model import ClusterId, Phase, Status
from headrace_controller.reconciling.shards import Shards
from headrace_controller.store import Fence

COUNT = 4


class Leases:
    def __init__(self) -> None:
        self.held: dict[int, int] = {}


def test_the_clusters_of_the_shards_that_are_held_are_its_own() -> None:
    leases, now = Leases(), 100.0
    shards = Shards(cast("ShardLeases", leases), COUNT, clock=lambda: now)
    clusters = [new_cluster(f"c{n}") for n in range(40)]
    for cluster in clusters:
        shards.added(cluster)
    shards.added(ended := replace(new_cluster("c99"), status=Status(phase=Phase.STOPPED)))
    assert shards.all_own() == []
    assert shards.fence(clusters[0].id) is None

    shard = shard_of("c0", COUNT)
    leases.held[shard] = 17
    shards.gained(shard)
    now = 200.0
    assert shards.fence(clusters[0].id) == Fence(shard, 17)
    assert shards.own("c0")
    assert shards.watching_since(clusters[0].id) == 100.0
    own = {cluster.id for cluster in clusters if shard_of(cluster.id, COUNT) == shard}
    assert set(shards.all_own()) == set(shards.living(shard)) == own
    other = next(cluster for cluster in clusters if cluster.id not in own)
    assert shards.watching_since(other.id) == 200.0

    shards.updated(clusters[0], replace(clusters[0], status=ended.status))
    gone = next(cluster for cluster in clusters[1:] if cluster.id in own)
    shards.removed(gone)
    assert set(shards.all_own()) == own - {ClusterId("c0"), gone.id}
    shards.lost(shard)
    assert shards.watching_since(clusters[0].id) == 200.0
