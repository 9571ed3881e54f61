"""Repair of what events have missed: works through this replica's clusters, a slice at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from headrace.errors import StoreUnavailable
from headrace_chassis import logs
from headrace_controller.backends.base import BackendError
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import ClusterId
from headrace_controller.reconciling.manifest_sync import ManifestSync
from headrace_controller.reconciling.process_table import ProcessTable
from headrace_controller.reconciling.queue import WorkQueue
from headrace_controller.reconciling.shards import Shards

log = logs.get_logger()
_SLICE = 50


class Resync:
    """Compares records with the store, plans for them, and once a round observes the whole backend.

    Parameters
    ----------
    seconds
        Duration of a round.
    """

    def __init__(
        self,
        mirror: ClusterMirror,
        shards: Shards,
        processes: ProcessTable,
        manifests: ManifestSync,
        queue: WorkQueue[ClusterId],
        *,
        seconds: float,
    ) -> None:
        self._mirror = mirror
        self._shards = shards
        self._processes = processes
        self._manifests = manifests
        self._queue = queue
        self._seconds = seconds

    async def run(self) -> None:
        """Works in rounds until cancelled."""
        await self._mirror.ready.wait()
        while True:
            clusters = self._shards.all_own()
            slices = [clusters[start : start + _SLICE] for start in range(0, len(clusters), _SLICE)]
            for part in slices:
                await asyncio.sleep(self._seconds / (len(slices) + 1))
                await self._check(part)
            await asyncio.sleep(self._seconds / (len(slices) + 1))
            await self._observe()

    async def _check(self, clusters: Sequence[ClusterId]) -> None:
        try:
            await self._mirror.verify(clusters)
        except StoreUnavailable as error:
            log.warning("cannot compare records with the store", error=str(error))
            return
        except Exception:  # logged in full
            log.exception("comparing records with the store failed", clusters=len(clusters))
        for cluster in clusters:
            if record := self._mirror.get(cluster):
                self._manifests.repair(record)
                self._queue.add(cluster)

    async def _observe(self) -> None:
        try:
            await self._processes.refresh()
        except BackendError as error:
            log.warning("cannot observe the backend", error=str(error))
        except Exception:  # a fault of the backend; logged in full
            log.exception("observing the backend failed")
