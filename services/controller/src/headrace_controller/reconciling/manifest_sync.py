"""Keeps the manifests of running clusters up to date, concurrently with the steps that change their content."""

from __future__ import annotations

import asyncio
import contextlib

from headrace.errors import ClusterNotFound, HeadraceError
from headrace_chassis import logs
from headrace_controller.backends.base import Backend, BackendError, Manifests
from headrace_controller.model import Cluster, ClusterId, EndReason, Spec
from headrace_controller.reconciling.manifests import ManifestSealer, ending_of, granted_spec
from headrace_controller.store.records import Records

log = logs.get_logger()
_AT_ONCE = 4
_Content = tuple[Spec, EndReason | None]


class ManifestSync:
    """Writes the newest manifest of each cluster, few at once, and only when its content has changed.

    A replica that takes a cluster over assumes that its manifest is up to date, unless there are changes that nobody
    has carried out yet; :meth:`repair` writes it for certain.
    """

    def __init__(self, records: Records, backend: Backend, sealer: ManifestSealer) -> None:
        self._records = records
        self._backend = backend if isinstance(backend, Manifests) else None
        self._sealer = sealer
        self._kept: dict[ClusterId, _Content] = {}
        self._assumed: set[ClusterId] = set()
        self._due: dict[ClusterId, Cluster] = {}
        self._writing: dict[ClusterId, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def initial(self, cluster: Cluster) -> bytes:
        """Returns the manifest that a scheduler is launched with."""
        self._kept[cluster.id] = _content(cluster)
        return self._sealer.make(cluster, await self._records.secrets(cluster.id))

    def launch_failed(self, cluster: ClusterId) -> None:
        """Notes that nobody knows whether the manifest of a launch is kept: the scheduler may run nevertheless."""
        self._kept[cluster] = _NEVER_WRITTEN

    def sync(self, cluster: Cluster, *, changed: bool = False) -> None:
        """Has the manifest written if its content has changed; returns at once.

        With `changed`, the record has changes that were not carried out before: nothing is assumed.
        """
        if self._backend is None:
            return
        kept, content = self._kept.get(cluster.id), _content(cluster)
        if cluster.status.phase.ended:
            self._discard(cluster.id)
        elif kept is None and not changed and not cluster.stopping:
            self._kept[cluster.id] = content
            if cluster.generation > 1:  # otherwise it is the one that the scheduler was launched with
                self._assumed.add(cluster.id)
        elif kept != content:
            self._write_soon(cluster, content, self._backend)

    def repair(self, cluster: Cluster) -> None:
        """Has a manifest written that was only assumed to be up to date."""
        if self._backend and cluster.id in self._assumed and not cluster.status.phase.ended:
            self._write_soon(cluster, _content(cluster), self._backend)

    async def written(self, cluster: ClusterId) -> None:
        """Waits until nothing is left to write of a cluster, or cannot be written."""
        if writing := self._writing.get(cluster):
            await asyncio.wait([writing])

    def discard_all(self, _shard: int) -> None:
        """Discards everything once a shard is lost: another replica writes manifests from now on."""
        self._kept.clear()
        self._assumed.clear()

    async def close(self) -> None:
        """Gives up what is being written; the next replica writes it."""
        writing = list(self._writing.values())
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)

    def _write_soon(self, cluster: Cluster, content: _Content, backend: Manifests) -> None:
        self._kept[cluster.id] = content
        self._assumed.discard(cluster.id)
        self._due[cluster.id] = cluster
        if cluster.id not in self._writing:
            self._writing[cluster.id] = asyncio.create_task(self._write_due(cluster.id, backend))

    async def _write_due(self, cluster: ClusterId, backend: Manifests) -> None:
        try:
            async with self._room:
                while newest := self._due.pop(cluster, None):
                    await self._write(newest, backend)
        finally:
            del self._writing[cluster]

    async def _write(self, cluster: Cluster, backend: Manifests) -> None:
        try:
            with contextlib.suppress(ClusterNotFound):
                secrets = await self._records.secrets(cluster.id)
                await backend.update_manifest(cluster.id, self._sealer.make(cluster, secrets))
        except (HeadraceError, BackendError) as error:
            log.warning("cannot write a manifest; the next step tries again", cluster=cluster.id, error=str(error))
            self._kept[cluster.id] = _NEVER_WRITTEN
        except Exception:  # logged in full
            log.exception("writing a manifest failed; the next step tries again", cluster=cluster.id)
            self._kept[cluster.id] = _NEVER_WRITTEN

    def _discard(self, cluster: ClusterId) -> None:
        self._kept.pop(cluster, None)
        self._assumed.discard(cluster)
        self._due.pop(cluster, None)


_NEVER_WRITTEN: _Content = (Spec(groups=()), None)


def _content(cluster: Cluster) -> _Content:
    """What may change of a manifest."""
    return granted_spec(cluster), ending_of(cluster)
