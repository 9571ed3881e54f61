"""The schedulers that run, for whoever measures them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from headrace_chassis.metrics_page import NotReady
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId, Phase
from headrace_controller.reconciling.shards import Shards
from headrace_controller.signals.source import Target


class LiveSchedulers:
    """Running clusters whose scheduler has an HTTP server."""

    def __init__(self, mirror: ClusterMirror, shards: Shards) -> None:
        self._mirror = mirror
        self._shards = shards

    def own(self) -> Sequence[Target]:
        """Return those that this replica decides about."""
        return [
            Target(cluster.id, cluster.created, cluster.status.started or cluster.created, _address(cluster))
            for cluster in self._running(self._shards.all_own())
        ]

    def all(self) -> Iterator[Cluster]:
        """Return those of the whole deployment. May be called from any thread. Raises `NotReady`."""
        if not self._mirror.ready.is_set():
            raise NotReady("this replica has just started and does not know all clusters yet")
        return self._running(self._mirror.ids(living=True))

    def _running(self, clusters: Iterable[ClusterId]) -> Iterator[Cluster]:
        for cluster in map(self._mirror.get, clusters):
            if cluster is not None and cluster.status.phase is Phase.RUNNING and _address(cluster):
                yield cluster


def _address(cluster: Cluster) -> str:
    return cluster.report.dashboard_address
