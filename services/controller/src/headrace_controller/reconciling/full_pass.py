"""A look at everything, now and then and when shards were gained: repairs whatever an event has missed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from headrace.errors import HeadraceError
from headrace_chassis import logs
from headrace_controller import metrics
from headrace_controller.api.answers import Views
from headrace_controller.backends.base import Backend, BackendError
from headrace_controller.backends.base import Manifests as KeepsManifests
from headrace_controller.authorities import Authorities
from headrace_controller.model import ClusterId
from headrace_controller.reconciling.adoption import Adoption
from headrace_controller.reconciling.carrying_out import CarryingOut
from headrace_controller.reconciling.processes import Processes
from headrace_controller.reconciling.reconciler import Reconciler
from headrace_controller.store import Store

log = logs.get_logger()
_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PassSettings:
    """Seconds of everything that a full pass goes by."""

    every: float
    orphan_grace: float
    retention: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """What a full pass looks through."""

    store: Store
    backend: Backend
    processes: Processes
    reconciler: Reconciler
    adoption: Adoption
    carrying_out: CarryingOut
    views: Views
    authorities: Authorities


class FullPass:
    """Adopts, plans for every living cluster, stops orphans, removes what has ended long ago."""

    def __init__(self, through: Everything, settings: PassSettings, *, clock: Callable[[], float]) -> None:
        self._through = through
        self._settings = settings
        self._clock = clock
        self._wanted = asyncio.Event()
        self._unknown_since: dict[ClusterId, float] = {}

    def ask(self, _cause: object = None) -> None:
        """Asks for a pass soon."""
        self._wanted.set()

    async def run(self) -> None:
        """Passes for ever."""
        await self._through.processes.known.wait()
        while True:
            try:
                async with asyncio.timeout(self._settings.every):
                    await self._wanted.wait()
            except TimeoutError:
                await self._refresh()
            self._wanted.clear()
            try:
                await self.once()
            except (HeadraceError, BackendError) as error:
                log.warning("a full pass was not finished", error=str(error))

    async def once(self) -> None:
        """One pass over what this replica answers for. What needs the backend comes last: it may be in trouble."""
        await self._plan_all()
        known = set(await self._through.store.ids())
        for cluster in await self._lost(known):
            if await self._through.adoption.adopt(cluster):
                known.add(cluster)
        self._stop_orphans(known)
        await self._remove_ended()

    async def _refresh(self) -> None:
        try:
            await self._through.processes.refresh()
        except BackendError as error:
            log.warning("cannot observe the backend", error=str(error))

    def _mine(self, cluster: ClusterId) -> bool:
        return self._through.reconciler.fence(cluster) is not None

    async def _lost(self, known: set[ClusterId]) -> list[ClusterId]:
        backend = self._through.backend
        if not isinstance(backend, KeepsManifests):
            return []
        found = [ClusterId(cluster) for cluster in await backend.manifests()]
        return [cluster for cluster in found if cluster not in known and self._mine(cluster)]

    async def _plan_all(self) -> None:
        living = [cluster for cluster in await self._through.store.ids(living=True) if self._mine(cluster)]
        for start in range(0, len(living), _AT_ONCE):
            for cluster in await self._through.store.get_many(living[start : start + _AT_ONCE]):
                await self._through.reconciler.look(cluster)

    def _stop_orphans(self, known: set[ClusterId]) -> None:
        running = [cluster for cluster in self._through.processes.clusters() if self._through.processes.runs(cluster)]
        orphans = {cluster for cluster in running if cluster not in known and self._mine(cluster)}
        now = self._clock()
        self._unknown_since = {cluster: self._unknown_since.get(cluster, now) for cluster in orphans}
        for cluster, since in self._unknown_since.items():
            if now - since >= self._settings.orphan_grace:
                log.warning("stopping processes of a cluster that nobody knows", cluster=cluster)
                metrics.ORPHANS.inc()
                self._through.carrying_out.stop(cluster)

    async def _remove_ended(self) -> None:
        for cluster in await self._through.store.ended_before(self._clock() - self._settings.retention):
            if self._mine(cluster):
                try:
                    await self._remove(cluster)
                except BackendError as error:
                    log.warning("cannot remove what is left of an ended cluster", cluster=cluster, error=str(error))

    async def _remove(self, cluster: ClusterId) -> None:
        through = self._through
        await through.backend.forget(cluster)
        await through.store.remove(cluster)
        through.processes.forget(cluster)
        through.views.forget(cluster)
        through.authorities.forget(cluster)
