"""Keeps the manifests of running clusters up to date, beside the steps that change what they say."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from headrace.errors import ClusterNotFound, HeadraceError
from headrace_chassis import logs
from headrace_controller.backends.base import Backend, BackendError
from headrace_controller.backends.base import Manifests as KeepsManifests
from headrace_controller.model import Cluster, ClusterId, Group, Spec
from headrace_controller.reconciling.manifests import Manifests
from headrace_controller.store import Store

log = logs.get_logger()


class ManifestKeeping:
    """Writes one manifest at a time, the newest of each cluster, and only when it says something new."""

    def __init__(self, store: Store, backend: Backend, manifests: Manifests) -> None:
        self._store = store
        self._keeper = backend if isinstance(backend, KeepsManifests) else None
        self._manifests = manifests
        self._kept: dict[ClusterId, tuple[Group, ...]] = {}
        self._due: dict[ClusterId, Cluster] = {}
        self._writing: asyncio.Task[None] | None = None

    async def first(self, cluster: Cluster) -> bytes:
        """The manifest that a scheduler is started with."""
        self._kept[cluster.id] = _essence(cluster.spec)
        return self._manifests.make(cluster, await self._store.secrets(cluster.id))

    def refresh(self, cluster: Cluster) -> None:
        """Has the manifest written again if the groups are others than it says; returns at once."""
        if cluster.spec.stop or cluster.status.phase.ended:
            self._kept.pop(cluster.id, None)
            self._due.pop(cluster.id, None)
        elif self._keeper and self._kept.get(cluster.id) != _essence(cluster.spec):
            self._kept[cluster.id] = _essence(cluster.spec)
            self._due[cluster.id] = cluster
            if self._writing is None or self._writing.done():
                self._writing = asyncio.create_task(self._write_due(self._keeper))

    def doubt(self, _shard: int) -> None:
        """From now on another replica may write manifests: what is kept is not known any more."""
        self._kept.clear()

    async def close(self) -> None:
        """Lets go; whoever comes next writes what is missing."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _write_due(self, keeper: KeepsManifests) -> None:
        while self._due:
            cluster = self._due.pop(next(iter(self._due)))
            try:
                with contextlib.suppress(ClusterNotFound):
                    secrets = await self._store.secrets(cluster.id)
                    await keeper.update_manifest(cluster.id, self._manifests.make(cluster, secrets))
            except (HeadraceError, BackendError) as error:
                log.warning("cannot keep a manifest up to date", cluster=cluster.id, error=str(error))
                self._kept.pop(cluster.id, None)  # the next step tries again


def _essence(spec: Spec) -> tuple[Group, ...]:
    """What may change of a manifest; the size of an adaptive group changes often, and is found by what runs."""
    return tuple(replace(group, size=0) if group.adapt else group for group in spec.groups)
