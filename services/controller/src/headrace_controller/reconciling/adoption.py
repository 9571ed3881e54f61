"""Clusters that run although the store does not know them: adopted by their manifest, or stopped after a while."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from headrace.errors import ClusterNotFound
from headrace_chassis import logs
from headrace_controller import metrics
from headrace_controller.backends.base import SCHEDULER, Backend, ProcessState, ProcessStatus, Role
from headrace_controller.backends.base import Manifests as KeepsManifests
from headrace_controller.admission import Admission
from headrace_controller.clusters.groups import within
from headrace_controller.identifiers import parse_worker_id
from headrace_controller.model import Cluster, Event, Group, Spec, Status, WorkerId, WorkerRecord
from headrace_controller.reconciling.manifests import Manifest, Manifests
from headrace_controller.reconciling.processes import Processes
from headrace_controller.store import Store

log = logs.get_logger()


class Adoption:
    """Puts running clusters back into the store."""

    def __init__(
        self,
        store: Store,
        backend: Backend,
        processes: Processes,
        manifests: Manifests,
        admission: Admission,
        *,
        adopted: Callable[[Cluster], None],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._backend = backend
        self._processes = processes
        self._manifests = manifests
        self._admission = admission
        self._adopted = adopted
        self._clock = clock

    async def adopt(self, cluster: str) -> bool:
        """Adopts a cluster that the store does not know; False if it does not run or has no manifest that opens."""
        if not isinstance(self._backend, KeepsManifests):
            return False
        sealed = (await self._backend.manifests()).get(cluster)
        if sealed is None or (manifest := await self._open(cluster, sealed)) is None:
            return False
        await self._processes.refresh_cluster(manifest.cluster)
        seen = self._processes.of(manifest.cluster)
        if not _runs(seen.get(SCHEDULER)):
            return False
        record = restored(manifest, seen, self._clock())
        if await self._store.adopt(record, manifest.secrets, demand=self._admission.demand(record.spec)):
            metrics.ADOPTED.inc()
            log.warning("cluster adopted", cluster=record.id, owner=record.owner)
            self._adopted(record)
            await self._tell(record)
        return True

    async def _open(self, cluster: str, sealed: bytes) -> Manifest | None:
        try:
            manifest = await asyncio.to_thread(self._manifests.open, sealed)
        except ValueError as error:
            log.warning("a manifest cannot be opened", cluster=cluster, error=str(error))
            return None
        return manifest if manifest.cluster == cluster else None

    async def _tell(self, record: Cluster) -> None:
        message = "headrace's store had lost this cluster; it was adopted as it runs."
        try:
            await self._store.add_event(
                record.id, record.owner, Event(type="Adopted", message=message, time=self._clock())
            )
        except ClusterNotFound:
            log.warning("an adopted cluster has gone again", cluster=record.id)


def restored(manifest: Manifest, seen: Mapping[str, ProcessStatus], now: float) -> Cluster:
    """The record of a cluster from its manifest and what runs."""
    workers = {
        WorkerId(name): WorkerRecord(id=WorkerId(name), group=parsed[0], created=process.started or now, since=now)
        for name, process in seen.items()
        if process.role is Role.WORKER and _runs(process) and (parsed := parse_worker_id(name))
    }
    running = Counter(worker.group for worker in workers.values())
    newest = max((process.generation for process in seen.values()), default=0)
    numbers = [parsed[1] for name in seen if (parsed := parse_worker_id(name))]
    return Cluster(
        id=manifest.cluster,
        owner=manifest.owner,
        created=manifest.created,
        generation=max(manifest.generation, newest),
        spec=_with_sizes(manifest.spec, running, behind=newest > manifest.generation),
        status=Status(workers=workers, workers_made=max(numbers, default=0), scheduler_created=now),
    )


def _with_sizes(spec: Spec, running: Mapping[str, int], *, behind: bool) -> Spec:
    return replace(spec, groups=tuple(_sized(group, running.get(group.name, 0), behind) for group in spec.groups))


def _sized(group: Group, running: int, behind: bool) -> Group:
    """Adaptive groups have the size that is found; others what was asked for, unless the manifest may be behind."""
    if group.adapt:
        return replace(group, size=within(group.adapt, running))
    # Workers newer than the manifest were asked for by a change that it does not hold.
    return replace(group, size=max(group.size, running)) if behind else group


def _runs(process: ProcessStatus | None) -> bool:
    return process is not None and process.state is not ProcessState.EXITED
