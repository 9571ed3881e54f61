"""Clusters that run although the store has no record of them: rebuilt from their manifest."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from headrace.errors import ClusterNotFound
from headrace.v1.enums import EventType
from headrace_chassis import logs
from headrace_controller import metrics
from headrace_controller.admission import Admission
from headrace_controller.backends.base import Backend, Manifests
from headrace_controller.backends.process import SCHEDULER, ProcessState, ProcessStatus, Role
from headrace_controller.identifiers import parse_worker_id
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, Event, Group, Phase, Spec, Status, WorkerId, WorkerRecord
from headrace_controller.reconciling.manifests import Manifest, ManifestSealer
from headrace_controller.reconciling.process_table import ProcessTable
from headrace_controller.store import Store

log = logs.get_logger()


class Adoption:
    """Puts running clusters back into the store."""

    def __init__(
        self,
        *,
        store: Store,
        mirror: ClusterMirror,
        backend: Backend,
        processes: ProcessTable,
        sealer: ManifestSealer,
        admission: Admission,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._backend = backend
        self._processes = processes
        self._sealer = sealer
        self._admission = admission
        self._clock = clock

    async def adopt(self, cluster: str) -> bool:
        """Adopts a cluster; returns whether it is in the mirror.

        False: it does not run, has no manifest that can be opened, or has a record that cannot be read. Raises
        `BackendError`, `StoreUnavailable`.
        """
        if not isinstance(self._backend, Manifests):
            return False
        sealed = await self._backend.manifest(cluster)
        if sealed is None or (manifest := await self._open(cluster, sealed)) is None:
            return False
        await self._processes.refresh_cluster(manifest.cluster)
        seen = self._processes.of(manifest.cluster)
        if not _runs(seen.get(SCHEDULER)):
            return False
        await self._record(restored(manifest, seen, self._clock()), manifest.secrets)
        return self._mirror.get(manifest.cluster) is not None

    async def _open(self, cluster: str, sealed: bytes) -> Manifest | None:
        try:
            manifest = await asyncio.to_thread(self._sealer.open, sealed)
        except ValueError as error:
            log.warning("a manifest cannot be opened", cluster=cluster, error=str(error))
            return None
        return manifest if manifest.cluster == cluster else None

    async def _record(self, cluster: Cluster, secrets: bytes) -> None:
        adopted = await self._store.records.adopt(
            cluster,
            secrets=secrets,
            demand=self._admission.count(cluster),
            charged_to=list(self._admission.limits(cluster)),
        )
        if adopted is None:
            await self._mirror.verify([cluster.id])
            return
        metrics.ADOPTED.inc()
        log.warning("cluster adopted", cluster=cluster.id, owner=cluster.owner)
        self._mirror.apply(adopted)
        message = "headrace's store had lost this cluster. Its record was rebuilt from what runs."
        try:
            await self._store.events.add(
                cluster.id, cluster.owner, Event(type=EventType.ADOPTED, message=message, time=self._clock())
            )
        except ClusterNotFound:
            log.warning("the record of an adopted cluster is gone", cluster=cluster.id)


def restored(manifest: Manifest, seen: Mapping[str, ProcessStatus], now: float) -> Cluster:
    """Returns the record of a cluster, from its manifest and what runs."""
    workers = {
        WorkerId(name): WorkerRecord(id=WorkerId(name), group=parsed[0], created=process.started or now, since=now)
        for name, process in seen.items()
        if process.role is Role.WORKER and _runs(process) and (parsed := parse_worker_id(name))
    }
    running = Counter(worker.group for worker in workers.values())
    newest = max((process.generation for process in seen.values()), default=0)
    numbers = [parsed[1] for name in seen if (parsed := parse_worker_id(name))]
    spec = _with_sizes(manifest.spec, running) if newest > manifest.generation else manifest.spec
    return Cluster(
        id=manifest.cluster,
        owner=manifest.owner,
        groups=manifest.groups,
        created=manifest.created,
        generation=max(manifest.generation, newest),
        spec=spec,
        targets={group.name: group.adapt.clamp(running[group.name]) for group in spec.groups if group.adapt},
        status=_status(manifest, workers_made=max(numbers, default=0), now=now),
        workers=workers,
        meter=manifest.meter,
    )


def _status(manifest: Manifest, *, workers_made: int, now: float) -> Status:
    status = Status(workers_made=workers_made, scheduler_created=now)
    if manifest.ending is None:
        return status
    return replace(status, phase=Phase.STOPPING, reason=manifest.ending, message=manifest.message)


def _with_sizes(spec: Spec, running: Mapping[str, int]) -> Spec:
    """Workers newer than the manifest were asked for by a change that it does not have."""
    return replace(spec, groups=tuple(_with_size(group, running.get(group.name, 0)) for group in spec.groups))


def _with_size(group: Group, running: int) -> Group:
    return group if group.adapt else replace(group, size=max(group.size, running))


def _runs(process: ProcessStatus | None) -> bool:
    return process is not None and process.state is not ProcessState.EXITED
