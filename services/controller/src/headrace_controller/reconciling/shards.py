"""Which clusters are this replica's: those whose shard's lease it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headrace_chassis.redis.leases import ShardLeases, shard_of
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.store import Fence


class Shards:
    """The shards of this replica. As a handler of the mirror it knows the living clusters of each shard."""

    def __init__(self, leases: ShardLeases, count: int, *, clock: Callable[[], float]) -> None:
        self._leases = leases
        self._count = count
        self._clock = clock
        self._living: list[set[ClusterId]] = [set() for _ in range(count)]
        self._since: dict[int, float] = {}

    def fence(self, cluster: ClusterId) -> Fence | None:
        """Returns the proof that this replica may write a cluster's status; None: another one may."""
        shard = self.of(cluster)
        number = self._leases.held.get(shard)
        return None if number is None else Fence(shard, number)

    def own(self, cluster: str) -> bool:
        """Whether a cluster is this replica's."""
        return self.of(cluster) in self._leases.held

    def of(self, cluster: str) -> int:
        """Returns the shard of a cluster."""
        return shard_of(cluster, self._count)

    def watching_since(self, cluster: ClusterId) -> float:
        """Returns the time since which this replica has had a cluster."""
        return self._since.get(self.of(cluster), self._clock())

    def living(self, shard: int) -> Sequence[ClusterId]:
        """Returns the living clusters of a shard."""
        return list(self._living[shard])

    def all_own(self) -> Sequence[ClusterId]:
        """Returns all living clusters of this replica."""
        return [cluster for shard in self._leases.held for cluster in self._living[shard]]

    def gained(self, shard: int) -> None:
        """This replica has got the lease of a shard."""
        self._since[shard] = self._clock()

    def lost(self, shard: int) -> None:
        """This replica holds the lease of a shard no more."""
        self._since.pop(shard, None)

    def added(self, cluster: Cluster) -> None:
        if not cluster.status.phase.ended:
            self._living[self.of(cluster.id)].add(cluster.id)

    def updated(self, old: Cluster, new: Cluster) -> None:
        if new.status.phase.ended and not old.status.phase.ended:
            self._living[self.of(new.id)].discard(new.id)

    def removed(self, cluster: Cluster) -> None:
        self._living[self.of(cluster.id)].discard(cluster.id)
