"""Whether the proxies have taken up a cluster's route, and who waits for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace_controller.model import Cluster, ClusterId, Phase
from headrace_controller.store import Change, ChangeKind, Store


@dataclass(frozen=True, slots=True)
class RouteState:
    """What the proxies say of a cluster's route."""

    routed: bool
    rejected_by: tuple[str, ...] = ()


class Routing:
    """Asks the store what the proxies have acknowledged, and wakes those who wait when that has changed."""

    def __init__(self, store: Store, *, wake: Callable[[ClusterId], None]) -> None:
        self._store = store
        self._wake = wake
        self._waiting: set[ClusterId] = set()

    async def state(self, cluster: Cluster) -> RouteState:
        """What the proxies say of a cluster that is starting; a running one was routed once and stays so."""
        version = cluster.report.route_version
        if cluster.status.phase is not Phase.STARTING:
            self._waiting.discard(cluster.id)
            return RouteState(routed=bool(version))
        if not version:
            return RouteState(routed=False)
        self._waiting.add(cluster.id)  # before asking: an acknowledgement from now on wakes
        readers = await self._store.acknowledged()
        routed = bool(readers) and all(said.covers(cluster.id, version) for said in readers.values())
        return RouteState(routed, tuple(name for name, said in readers.items() if cluster.id in said.rejected))

    def acknowledged(self) -> None:
        """Some proxy has taken up routes."""
        for cluster in self._waiting:
            self._wake(cluster)

    def on_change(self, change: Change) -> None:
        """Takes an entry of the change stream."""
        if change.kind is ChangeKind.ACKNOWLEDGED:
            self.acknowledged()
        elif change.kind is ChangeKind.REMOVED:
            self._waiting.discard(change.cluster)
