"""Replicas with a mirror each, over one Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

from headrace_chassis.redis.connection import connect
from headrace_controller.keys import Keys
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.store import Store, StoredCluster


class Log:
    """A handler that writes down what it hears, and holds what a reader of its calls would hold."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.clusters: dict[ClusterId, Cluster] = {}

    def added(self, cluster: Cluster) -> None:
        assert cluster.id not in self.clusters
        self.calls.append(f"added {cluster.id}")
        self.clusters[cluster.id] = cluster

    def updated(self, old: Cluster, new: Cluster) -> None:
        assert self.clusters[new.id] is old
        self.calls.append(f"updated {new.id}")
        self.clusters[new.id] = new

    def removed(self, cluster: Cluster) -> None:
        assert self.clusters.pop(cluster.id) is cluster
        self.calls.append(f"removed {cluster.id}")


class Replica:
    """A store, its mirror, and a handler."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.mirror = ClusterMirror(store)
        self.log = Log()
        self.mirror.connect(self.log)

    def known(self) -> dict[ClusterId, Cluster]:
        """The mirror's records; the same as its handler was told of."""
        known = {cluster: self.mirror.get(cluster) for cluster in self.mirror.ids()}
        assert known == self.log.clusters
        return {cluster: record for cluster, record in known.items() if record}

    async def stored(self) -> dict[ClusterId, Cluster]:
        """The records that the store has."""
        ids = await self.store.reads.ids()
        found = await self.store.reads.differing(dict.fromkeys(ids))
        return {cluster: stored.cluster for cluster, stored in found.items() if isinstance(stored, StoredCluster)}


@asynccontextmanager
async def replica(redis_url: str, keys: Keys) -> AsyncGenerator[Replica]:
    """A replica whose mirror follows the store."""
    async with connect(redis_url) as redis, connect(redis_url) as waiting:
        made = Replica(Store(redis, keys, waiting))
        running = asyncio.create_task(made.mirror.run())
        try:
            yield made
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def retagged(cluster: Cluster, tag: str) -> Cluster:
    """A change that costs nothing."""
    return replace(cluster, spec=replace(cluster.spec, tags={"tag": tag}))
