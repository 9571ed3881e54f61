"""A mirror of what the backend runs, so that planning asks nobody."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from headrace_chassis import logs
from headrace_chassis.backoff import delays
from headrace_controller import metrics
from headrace_controller.backends.base import Backend, BackendError, ProcessState, ProcessStatus, Role
from headrace_controller.model import ClusterId

log = logs.get_logger()
_NONE: Mapping[str, ProcessStatus] = {}


class Processes:
    """Processes by cluster and name, as the backend told last."""

    def __init__(self, backend: Backend, *, changed: Callable[[ClusterId], None]) -> None:
        self._backend = backend
        self._changed = changed
        self._by_cluster: dict[ClusterId, dict[str, ProcessStatus]] = {}
        self._touched: set[ClusterId] | None = None
        self.known = asyncio.Event()
        """Set once the backend has told everything; nothing may be concluded before."""

    def of(self, cluster: ClusterId) -> Mapping[str, ProcessStatus]:
        """The processes of a cluster by name, ended ones included."""
        return self._by_cluster.get(cluster, _NONE)

    def runs(self, cluster: ClusterId) -> bool:
        """Whether any process of the cluster is alive."""
        return any(process.state is not ProcessState.EXITED for process in self.of(cluster).values())

    def clusters(self) -> list[ClusterId]:
        """Every cluster that the backend knows."""
        return list(self._by_cluster)

    async def run(self) -> None:
        """Follows the backend for ever, through its troubles."""
        pauses = delays(0.1, 5.0)
        while True:
            try:
                changes = self._backend.changes()
                await self.refresh()
                self.known.set()
                async for status in changes:
                    self._take(status)
                    pauses = delays(0.1, 5.0)
                log.warning("the backend ended its changes")
            except BackendError as error:
                log.warning("cannot follow the backend", error=str(error))
            await asyncio.sleep(next(pauses))

    async def refresh(self) -> None:
        """Looks at everything anew, for what a change has missed."""
        self._touched = set()
        try:
            seen = await self._backend.observe()
        finally:
            touched, self._touched = self._touched, None
        self._replace(seen, touched)
        self._count()

    async def refresh_cluster(self, cluster: ClusterId) -> None:
        """Looks at one cluster anew."""
        for status in await self._backend.observe(cluster):
            self._take(status)

    def forget(self, cluster: ClusterId) -> None:
        """Drops a cluster that the backend has forgotten."""
        self._by_cluster.pop(cluster, None)

    def _replace(self, seen: Iterable[ProcessStatus], touched: set[ClusterId]) -> None:
        # What changed while the backend was looking is newer than what it saw.
        fresh: dict[ClusterId, dict[str, ProcessStatus]] = {}
        for status in seen:
            fresh.setdefault(ClusterId(status.key.cluster), {})[status.key.process] = status
        for cluster in (fresh.keys() | self._by_cluster.keys()) - touched:
            if self._by_cluster.get(cluster) != fresh.get(cluster):
                self._by_cluster.pop(cluster, None)
                if cluster in fresh:
                    self._by_cluster[cluster] = fresh[cluster]
                self._changed(cluster)

    def _take(self, status: ProcessStatus) -> None:
        cluster = ClusterId(status.key.cluster)
        of_cluster = self._by_cluster.setdefault(cluster, {})
        if self._touched is not None:
            self._touched.add(cluster)
        if of_cluster.get(status.key.process) != status:
            of_cluster[status.key.process] = status
            self._changed(cluster)

    def _count(self) -> None:
        counts = Counter(
            status.role
            for of_cluster in self._by_cluster.values()
            for status in of_cluster.values()
            if status.state is not ProcessState.EXITED
        )
        for role in Role:
            metrics.PROCESSES.labels(role).set(counts[role])
