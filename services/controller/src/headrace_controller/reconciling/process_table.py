"""The processes that the backend runs, in memory, so that planning costs no call."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from headrace.backoff import delays
from headrace_chassis import logs
from headrace_controller import metrics
from headrace_controller.backends.base import Backend, BackendError
from headrace_controller.backends.process import ProcessKey, ProcessState, ProcessStatus, Role
from headrace_controller.model import Cluster, ClusterId

log = logs.get_logger()
_NONE: Mapping[str, ProcessStatus] = {}


class ProcessTable:
    """Processes by cluster and name, as the backend last reported them.

    Parameters
    ----------
    changed
        Called with each cluster of which a process has changed.
    clock
        Says when a process was first seen to run.

    Attributes
    ----------
    known
        Set once the backend has reported everything; nothing may be concluded before.
    """

    def __init__(
        self, backend: Backend, *, changed: Callable[[ClusterId], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._changed = changed
        self._by_cluster: dict[ClusterId, dict[str, ProcessStatus]] = {}
        self._running: Counter[Role] = Counter()
        self._gauges = {role: metrics.PROCESSES.labels(role) for role in Role}
        self._changed_meanwhile: list[set[ProcessKey]] = []  # one for each observation under way
        self.known = asyncio.Event()

    def of(self, cluster: ClusterId) -> Mapping[str, ProcessStatus]:
        """Returns the processes of a cluster by name, exited ones included."""
        return self._by_cluster.get(cluster, _NONE)

    def runs(self, cluster: ClusterId) -> bool:
        """Whether any process of the cluster is alive."""
        return any(map(_is_alive, self.of(cluster).values()))

    def clusters(self) -> list[ClusterId]:
        """Returns every cluster that the backend knows."""
        return list(self._by_cluster)

    async def run(self) -> None:
        """Follows the backend until cancelled, and observes all of it after each failure."""
        pauses = delays(0.1, 5.0)
        while True:
            try:
                changes = self._backend.changes()
                await self.refresh()
                self.known.set()
                async for status in changes:
                    self._accept(status)
                    pauses = delays(0.1, 5.0)
                log.warning("the backend ended its stream of changes")
            except BackendError as error:
                log.warning("cannot follow the backend", error=str(error))
            except Exception:  # a fault of the backend; logged in full
                log.exception("following the backend failed")
            await asyncio.sleep(next(pauses))

    async def refresh(self) -> None:
        """Observes everything, for what a change has missed."""
        seen, changed = await self._observe(None)
        by_cluster: dict[ClusterId, dict[str, ProcessStatus]] = {}
        for status in seen:
            by_cluster.setdefault(ClusterId(status.key.cluster), {})[status.key.process] = status
        for cluster in (by_cluster.keys() | self._by_cluster.keys()) - {key.cluster for key in changed}:
            self._replace(cluster, by_cluster.get(cluster, {}))

    async def refresh_cluster(self, cluster: ClusterId) -> None:
        """Observes one cluster."""
        seen, changed = await self._observe(cluster)
        for status in seen:
            if status.key not in changed:
                self._accept(status)

    async def _observe(self, cluster: ClusterId | None) -> tuple[Sequence[ProcessStatus], set[ProcessKey]]:
        """What the backend observes, and what has changed meanwhile: that is newer."""
        changed = set[ProcessKey]()
        self._changed_meanwhile.append(changed)
        try:
            return await self._backend.observe(cluster), changed
        finally:
            self._changed_meanwhile = [other for other in self._changed_meanwhile if other is not changed]

    def added(self, cluster: Cluster) -> None:
        """As a handler of the mirror: nothing to do."""

    def updated(self, old: Cluster, new: Cluster) -> None:
        """As a handler of the mirror: nothing to do."""

    def removed(self, cluster: Cluster) -> None:
        """Discards the exited processes of a cluster whose record is gone."""
        if not self.runs(cluster.id):
            self._replace(cluster.id, {})

    def _replace(self, cluster: ClusterId, seen: dict[str, ProcessStatus]) -> None:
        before = self._by_cluster.pop(cluster, {})
        seen = {process: self._timed(status, before.get(process)) for process, status in seen.items()}
        if seen:
            self._by_cluster[cluster] = seen
        if before != seen:
            self._count(before.values(), seen.values())
            self._changed(cluster)

    def _accept(self, status: ProcessStatus) -> None:
        cluster, process = ClusterId(status.key.cluster), status.key.process
        for changed in self._changed_meanwhile:
            changed.add(status.key)
        of_cluster = self._by_cluster.setdefault(cluster, {})
        before = of_cluster.get(process)
        status = self._timed(status, before)
        if before != status:
            of_cluster[process] = status
            self._count([before] if before else [], [status])
            self._changed(cluster)

    def _timed(self, status: ProcessStatus, before: ProcessStatus | None) -> ProcessStatus:
        """The status of a process that runs, with the time at which it was first seen to do so."""
        if status.state is not ProcessState.RUNNING:
            return status
        ran = before is not None and before.state is ProcessState.RUNNING
        return replace(status, runs_since=before.runs_since if before is not None and ran else self._clock())

    def _count(self, before: Iterable[ProcessStatus], after: Iterable[ProcessStatus]) -> None:
        for statuses, step in ((before, -1), (after, 1)):
            for status in statuses:
                if _is_alive(status):
                    self._running[status.role] += step
                    self._gauges[status.role].set(self._running[status.role])


def _is_alive(status: ProcessStatus) -> bool:
    return status.state is not ProcessState.EXITED
