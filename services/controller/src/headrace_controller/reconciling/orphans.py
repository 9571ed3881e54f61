"""Processes of clusters without a record: adopted by their manifest, or stopped after a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headrace.errors import HeadraceError
from headrace_chassis import logs
from headrace_controller import metrics
from headrace_controller.backends.base import BackendError
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import ClusterId
from headrace_controller.reconciling.adoption import Adoption
from headrace_controller.reconciling.executor import Executor
from headrace_controller.reconciling.process_table import ProcessTable
from headrace_controller.reconciling.queue import WorkQueue
from headrace_controller.reconciling.shards import Shards
from headrace_controller.store.reads import Reads

log = logs.get_logger()
_CHECKS = 20  # within the grace
_AT_ONCE = 16


class Orphans:
    """Handles the clusters of this replica's shards that have processes and no record.

    Parameters
    ----------
    grace
        Seconds after which the processes of an unknown cluster are stopped.
    """

    def __init__(
        self,
        *,
        reads: Reads,
        mirror: ClusterMirror,
        shards: Shards,
        processes: ProcessTable,
        adoption: Adoption,
        executor: Executor,
        queue: WorkQueue[ClusterId],
        grace: float,
        clock: Callable[[], float],
    ) -> None:
        self._reads = reads
        self._mirror = mirror
        self._shards = shards
        self._processes = processes
        self._adoption = adoption
        self._executor = executor
        self._queue = queue
        self._grace = grace
        self._clock = clock
        self._found: dict[ClusterId, float] = {}  # time at which each was found
        self._just_gained: set[int] = set()
        self._new = asyncio.Event()

    def check(self, cluster: ClusterId) -> None:
        """Has a cluster without a record checked soon."""
        if self._processes.runs(cluster):
            self._found.setdefault(cluster, self._clock())
            self._new.set()

    def gained(self, shard: int) -> None:
        """Has the processes of a shard checked that this replica has gained."""
        self._just_gained.add(shard)
        self._new.set()

    async def run(self) -> None:
        """Works until cancelled, and only while there are orphans."""
        await self._mirror.ready.wait()
        while True:
            await self._new.wait()
            self._new.clear()
            await self._mirror_is_fresh()
            self._queue_gained()
            found = list(self._found)
            for start in range(0, len(found), _AT_ONCE):
                await asyncio.gather(*map(self._settle, found[start : start + _AT_ONCE]))
            if self._found:
                await self._pause()

    def _queue_gained(self) -> None:
        """Queues what runs without a living record in shards that were just gained."""
        if self._just_gained:
            for cluster in self._processes.clusters():
                record = self._mirror.get(cluster)
                if (record is None or record.status.phase.ended) and self._shards.of(cluster) in self._just_gained:
                    self._queue.add(cluster)
            self._just_gained.clear()

    async def _mirror_is_fresh(self) -> None:
        while True:
            try:
                await self._mirror.fresh()
            except HeadraceError as error:
                log.warning("cannot check orphans; will try again", error=str(error))
                await asyncio.sleep(1)
            else:
                return

    async def _pause(self) -> None:
        """Waits for a new orphan, or a while for the others."""
        try:
            async with asyncio.timeout(max(0.05, self._grace / _CHECKS)):
                await self._new.wait()
        except TimeoutError:
            self._new.set()

    async def _settle(self, cluster: ClusterId) -> None:
        if await self._settled(cluster):
            self._found.pop(cluster, None)

    async def _settled(self, cluster: ClusterId) -> bool:
        """Adopts or stops a cluster; returns whether nothing is left to do."""
        if self._mirror.get(cluster) or not self._shards.own(cluster) or not self._processes.runs(cluster):
            return True
        try:
            # A record that cannot be read is not in the mirror, but its cluster is no orphan.
            if await self._reads.exists(cluster) or await self._adoption.adopt(cluster):
                return True
            if self._clock() - self._found[cluster] < self._grace:
                return False
        except (HeadraceError, BackendError) as error:
            log.warning("cannot adopt a cluster", cluster=cluster, error=str(error))
            return False
        except Exception:  # one cluster's fault must not keep the others; logged in full
            log.exception("adopting a cluster failed", cluster=cluster)
            return False
        log.warning("stopping the processes of a cluster without a record", cluster=cluster)
        metrics.ORPHANS.inc()
        self._executor.stop(cluster)
        self._found[cluster] = self._clock()  # what still runs after another grace is stopped again
        return False
