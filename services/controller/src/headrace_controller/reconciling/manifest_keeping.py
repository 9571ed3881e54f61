"""Keeps the manifests of running clusters up to date, beside the steps that change what they say."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from headrace.errors import ClusterNotFound, HeadraceError
from headrace_chassis import logs
from headrace_controller.backends.base import Backend, BackendError
from headrace_controller.backends.base import Manifests as KeepsManifests
from headrace_controller.model import Cluster, ClusterId, EndReason, Group
from headrace_controller.reconciling.manifests import Manifests
from headrace_controller.store import Store

log = logs.get_logger()
_AT_ONCE = 4
_Essence = tuple[EndReason | None, tuple[Group, ...]]


class ManifestKeeping:
    """Writes the newest manifest of each cluster, few at once, and only when it says something new."""

    def __init__(self, store: Store, backend: Backend, manifests: Manifests) -> None:
        self._store = store
        self._keeper = backend if isinstance(backend, KeepsManifests) else None
        self._manifests = manifests
        self._kept: dict[ClusterId, _Essence] = {}
        self._due: dict[ClusterId, Cluster] = {}
        self._writing: dict[ClusterId, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def first(self, cluster: Cluster) -> bytes:
        """The manifest that a scheduler is started with."""
        self._kept[cluster.id] = _essence(cluster)
        return self._manifests.make(cluster, await self._store.secrets(cluster.id))

    def refresh(self, cluster: Cluster) -> None:
        """Has the manifest written again if the groups, or that it is to end, are news to it; returns at once."""
        if cluster.status.phase.ended:
            self._kept.pop(cluster.id, None)
            self._due.pop(cluster.id, None)
        elif self._keeper and self._kept.get(cluster.id) != _essence(cluster):
            self._kept[cluster.id] = _essence(cluster)
            self._due[cluster.id] = cluster
            if cluster.id not in self._writing:
                self._writing[cluster.id] = asyncio.create_task(self._write_due(cluster.id, self._keeper))

    async def written(self, cluster: ClusterId) -> None:
        """Waits until nothing is left to write of a cluster, or cannot be written."""
        if writing := self._writing.get(cluster):
            await asyncio.wait([writing])

    def doubt(self, _shard: int) -> None:
        """From now on another replica may write manifests: what is kept is not known any more."""
        self._kept.clear()

    async def close(self) -> None:
        """Lets go; whoever comes next writes what is missing."""
        writing = list(self._writing.values())
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)

    async def _write_due(self, cluster: ClusterId, keeper: KeepsManifests) -> None:
        try:
            async with self._room:
                while newest := self._due.pop(cluster, None):
                    await self._write(newest, keeper)
        finally:
            del self._writing[cluster]

    async def _write(self, cluster: Cluster, keeper: KeepsManifests) -> None:
        try:
            with contextlib.suppress(ClusterNotFound):
                secrets = await self._store.secrets(cluster.id)
                await keeper.update_manifest(cluster.id, self._manifests.make(cluster, secrets))
        except (HeadraceError, BackendError) as error:
            log.warning("cannot keep a manifest up to date", cluster=cluster.id, error=str(error))
            self._kept.pop(cluster.id, None)  # the next step tries again


def _essence(cluster: Cluster) -> _Essence:
    """What may change of a manifest; the size of an adaptive group changes often, and is found by what runs."""
    return cluster.ending, tuple(replace(group, size=0) if group.adapt else group for group in cluster.spec.groups)
