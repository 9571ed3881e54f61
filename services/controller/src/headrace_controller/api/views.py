"""Clusters as messages of the API. Each is converted once for each of its versions and kept serialised."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from cachetools import LRUCache

from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_controller.api import convert
from headrace_controller.model import Cluster, ClusterId

_CACHE_BYTES = 64 * 2**20
_OVERHEAD_BYTES = 200
# Between so many clusters other calls get their turn.
_AT_ONCE = 64


class _Entry(NamedTuple):
    cluster: Cluster  # of which this is the view; a newer version of it is another object
    content: bytes  # a ListClustersResponse with this cluster only


def _size(entry: _Entry) -> int:
    return len(entry.content) + _OVERHEAD_BYTES


class Views:
    """Clusters in the views BASIC and FULL.

    What is kept is a serialised list of one: protobuf merges concatenated messages, so that a list of many is all of
    theirs joined (ADR 0007).
    """

    def __init__(self) -> None:
        self._cache: LRUCache[tuple[ClusterId, bool], _Entry] = LRUCache(_CACHE_BYTES, getsizeof=_size)

    def get(self, cluster: Cluster, *, full: bool = True) -> cluster_pb2.Cluster:
        """Return a cluster as a message that is the caller's own."""
        return pb.ListClustersResponse.FromString(self._content(cluster, full=full)).clusters[0]

    async def join(self, clusters: Iterable[Cluster], next_page_token: str, *, full: bool) -> bytes:
        """Return a serialised ListClustersResponse."""
        contents: list[bytes] = []
        for n, cluster in enumerate(clusters):
            contents.append(self._content(cluster, full=full))
            if n % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return b"".join([*contents, pb.ListClustersResponse(next_page_token=next_page_token).SerializeToString()])

    def discard(self, cluster: ClusterId) -> None:
        """Discard the views of a cluster that exists no more."""
        for full in (False, True):
            self._cache.pop((cluster, full), None)

    def _content(self, cluster: Cluster, *, full: bool) -> bytes:
        key = (cluster.id, full)
        if (entry := self._cache.get(key)) is None or entry.cluster is not cluster:
            message = pb.ListClustersResponse(clusters=[convert.cluster(cluster, full=full)])
            entry = _Entry(cluster, message.SerializeToString())
            self._cache[key] = entry
        return entry.content
