"""Whether the proxies have taken up the routes of starting clusters, and which clusters wait for that."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from headrace_controller.loops import faults_logged
from headrace_controller.model import Cluster, ClusterId, Phase
from headrace_controller.plan import RouteState
from headrace_controller.store import Acknowledgement, Change, reaches
from headrace_controller.store.routes import Routes
from headrace_controller.store.values import version_key

# Nothing announces that a reader has stopped to count.
_POLL_SECONDS = 1.0


class RouteStates:
    """What each reader of routes has in use, in memory; an acknowledgement wakes only the clusters that it is for.

    Parameters
    ----------
    wake
        Called with each waiting cluster whose route every reader serves, or some reader rejects.
    """

    def __init__(self, routes: Routes, *, wake: Callable[[ClusterId], None]) -> None:
        self._routes = routes
        self._wake = wake
        self._readers: dict[str, Acknowledgement] = {}
        self._waiting: dict[ClusterId, tuple[int, int]] = {}
        self._by_version: list[tuple[tuple[int, int], ClusterId]] = []  # heap; may have entries that wait no more
        self._someone_waits = asyncio.Event()

    def of(self, cluster: Cluster) -> RouteState:
        """Returns what the readers answered to the route of a starting cluster; a running one stays routed."""
        version = cluster.report.route_version
        if cluster.status.phase is not Phase.STARTING or not version:
            self._waiting.pop(cluster.id, None)
            return RouteState(routed=bool(version))
        readers = self._readers.items()
        routed = bool(readers) and all(in_use.covers(cluster.id, version) for _, in_use in readers)
        if routed:
            self._waiting.pop(cluster.id, None)
        else:
            self._wait(cluster.id, version_key(version))
        return RouteState(routed, tuple(name for name, in_use in readers if cluster.id in in_use.rejected))

    def on_change(self, change: Change) -> None:
        """Accepts an entry of the change stream."""
        if change.in_use is not None:
            self.accept(change.reader, change.in_use)

    def accept(self, reader: str, in_use: Acknowledgement) -> None:
        """Accepts what a reader has in use."""
        self._readers[reader] = in_use
        self._wake_waiting(in_use)

    async def run(self) -> None:
        """Drops readers that count no more while clusters wait for them; until cancelled."""
        while True:
            await self._someone_waits.wait()
            with faults_logged("cannot check the readers of routes"):
                await self._check_readers()
            await asyncio.sleep(_POLL_SECONDS)
            if not self._waiting:
                self._someone_waits.clear()

    async def _check_readers(self) -> None:
        before = dict(self._readers)
        found = await self._routes.readers()
        known = self._readers
        # What was accepted while they were read is newer, also of a reader that was not there yet.
        new = {reader: in_use for reader, in_use in known.items() if in_use is not before.get(reader)}
        self._readers = new | {
            reader: known[reader] if reader in known and reaches(known[reader].version, in_use.version) else in_use
            for reader, in_use in found.items()
        }
        self._wake_waiting(*self._readers.values())

    def _wait(self, cluster: ClusterId, version: tuple[int, int]) -> None:
        if self._waiting.get(cluster) != version:
            self._waiting[cluster] = version
            heapq.heappush(self._by_version, (version, cluster))
            self._someone_waits.set()

    def _wake_waiting(self, *in_use: Acknowledgement) -> None:
        if not self._waiting:
            return
        served = min((version_key(reader.version) for reader in self._readers.values()), default=(-1, 0))
        while self._by_version and self._by_version[0][0] <= served:
            version, cluster = heapq.heappop(self._by_version)
            if self._waiting.get(cluster) == version:
                del self._waiting[cluster]
                self._wake(cluster)
        for reader in in_use:
            for cluster in reader.rejected & self._waiting.keys():
                self._wake(cluster)
