"""Clusters as messages of the API. Each is converted once for each of its versions and kept serialised."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis import logs
from headrace_controller.api import convert
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.store import RecordUnreadable

log = logs.get_logger()
# Number of clusters after which other calls get their turn.
_AT_ONCE = 64


class _Entry(NamedTuple):
    cluster: Cluster  # the record that this is the view of; a newer version of it is another object
    content: bytes  # a ListClustersResponse with this cluster only; empty if it cannot be shown


class Views:
    """Clusters in the views BASIC and FULL, of as many clusters as the mirror has.

    What is kept is a serialised list of one: protobuf merges concatenated messages, so that a list of many is all of
    theirs joined (ADR 0007).
    """

    def __init__(self) -> None:
        self._basic: dict[ClusterId, _Entry] = {}
        self._full: dict[ClusterId, _Entry] = {}

    def get(self, cluster: Cluster, *, full: bool = True) -> cluster_pb2.Cluster:
        """Return a cluster as a message that is the caller's own. Raises `RecordUnreadable`."""
        if not (content := self._content(cluster, full=full)):
            raise RecordUnreadable.of(cluster.id)
        return pb.ListClustersResponse.FromString(content).clusters[0]

    async def join(self, clusters: Iterable[Cluster], next_page_token: str, *, full: bool) -> bytes:
        """Return a serialised ListClustersResponse, without those that cannot be shown."""
        contents: list[bytes] = []
        for n, cluster in enumerate(clusters):
            contents.append(self._content(cluster, full=full))
            if n % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
        return b"".join([*contents, pb.ListClustersResponse(next_page_token=next_page_token).SerializeToString()])

    def discard(self, cluster: ClusterId) -> None:
        """Discard the views of a cluster that exists no more."""
        self._basic.pop(cluster, None)
        self._full.pop(cluster, None)

    def _content(self, cluster: Cluster, *, full: bool) -> bytes:
        entries = self._full if full else self._basic
        if (entry := entries.get(cluster.id)) is None or entry.cluster is not cluster:
            entry = entries[cluster.id] = _Entry(cluster, _converted(cluster, full=full))
        return entry.content


def _converted(cluster: Cluster, *, full: bool) -> bytes:
    try:
        return pb.ListClustersResponse(clusters=[convert.cluster(cluster, full=full)]).SerializeToString()
    except Exception:  # logged in full; it must not keep others from being shown
        log.exception("a record cannot be shown", cluster=cluster.id)
        return b""
