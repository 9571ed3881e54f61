"""Serialised answers of reads, kept as long as a version number in the store says that they are fresh."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from headrace.v1 import cluster_pb2
from headrace_controller.api import convert
from headrace_controller.model import Cluster, ClusterId, UserId
from headrace_controller.store import Store

Key = TypeVar("Key", bound=Hashable)

_CLUSTERS_KEPT = 16384
_LIST_BYTES_KEPT = 64 * 2**20
# So many clusters are read or converted before others get their turn on the event loop.
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class _View:
    revision: int
    owner: UserId
    content: bytes


class Views:
    """Clusters as serialised protos, by revision."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[ClusterId, _View] = OrderedDict()

    def of(self, cluster: Cluster) -> bytes:
        """The cluster, serialised."""
        if (view := self._kept.get(cluster.id)) and view.revision == cluster.revision:
            return view.content
        content = convert.cluster(cluster).SerializeToString()
        self._kept[cluster.id] = _View(cluster.revision, cluster.owner, content)
        self._kept.move_to_end(cluster.id)
        while len(self._kept) > _CLUSTERS_KEPT:
            self._kept.popitem(last=False)
        return content

    async def get(self, cluster: ClusterId, check: Callable[[UserId], None]) -> bytes:
        """The cluster as it is now, serialised; `check` refuses by its owner."""
        revision, owner = await self._store.revision(cluster)
        check(owner)
        if (view := self._kept.get(cluster)) and view.revision == revision:
            return view.content
        return self.of(await self._store.get(cluster))

    async def get_many(self, clusters: Sequence[ClusterId]) -> list[Cluster]:
        """Reads many clusters, in portions."""
        found: list[Cluster] = []
        for start in range(0, len(clusters), _AT_ONCE):
            found += await self._store.get_many(clusters[start : start + _AT_ONCE])
        return found

    async def at_least(self, revisions: Mapping[ClusterId, int]) -> list[Cluster]:
        """Clusters as they were at these revisions or later; asks the store only for what this replica has not seen."""
        known = [found for cluster, revision in revisions.items() if (found := self._store.known(cluster, revision))]
        seen = {cluster.id for cluster in known}
        return known + await self.get_many([cluster for cluster in revisions if cluster not in seen])

    def proto(self, cluster: Cluster) -> cluster_pb2.Cluster:
        """The cluster as a message."""
        return cluster_pb2.Cluster.FromString(self.of(cluster))

    def forget(self, cluster: ClusterId) -> None:
        """Drops a cluster whose record is gone."""
        self._kept.pop(cluster, None)
        self._store.doubt(cluster)

    def clear(self) -> None:
        """Drops everything: the store may have been emptied, and revisions begin anew."""
        self._kept.clear()
        self._store.doubt_all()


class Lists(Generic[Key]):
    """Serialised lists, by request and version; of several who ask at once, one builds."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, tuple[int, bytes]] = OrderedDict()
        self._bytes = 0
        self._building: dict[tuple[Key, int], asyncio.Task[bytes]] = {}

    async def get(self, key: Key, version: int, build: Callable[[], Awaitable[bytes]]) -> bytes:
        """The answer to a request at a version that was read before anything else of it."""
        if (kept := self._kept.get(key)) and kept[0] == version:
            self._kept.move_to_end(key)
            return kept[1]
        if (building := self._building.get((key, version))) is None:
            building = asyncio.create_task(self._build(key, version, build))
            self._building[key, version] = building
            building.add_done_callback(lambda _: self._building.pop((key, version), None))
        return await asyncio.shield(building)

    async def _build(self, key: Key, version: int, build: Callable[[], Awaitable[bytes]]) -> bytes:
        content = await build()
        if old := self._kept.pop(key, None):
            self._bytes -= len(old[1])
        self._kept[key] = (version, content)
        self._bytes += len(content)
        while self._bytes > _LIST_BYTES_KEPT:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._bytes -= len(dropped)
        return content


def embedded(number: int, content: bytes) -> bytes:
    """A serialised message as the length-delimited field of another one."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)
