"""Handlers of the mirror that receive some changes only."""

from __future__ import annotations

from collections.abc import Callable

from headrace_controller.model import Cluster, ClusterId


class OnRemoved:
    """Calls functions with each cluster whose record is gone."""

    def __init__(self, *discard: Callable[[ClusterId], object]) -> None:
        self._discard = discard

    def added(self, cluster: Cluster) -> None:
        """Nothing to do."""

    def updated(self, old: Cluster, new: Cluster) -> None:
        """Nothing to do."""

    def removed(self, cluster: Cluster) -> None:
        for discard in self._discard:
            discard(cluster.id)
