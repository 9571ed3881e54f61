"""All routes as the controller told them last: in memory, as a snapshot, and on disk for a start without it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from headrace_chassis.logs import get_logger
from headrace_proxy.model import Route, RouteStep
from headrace_proxy.routes.route_file import RouteFile
from headrace_proxy.xds.snapshot import Shape, Snapshot

log = get_logger()

_SAVE_INTERVAL_SECONDS = 0.2


class RouteBook:
    """The routes, and the snapshot that was made of them."""

    def __init__(self, shape: Shape, file: RouteFile) -> None:
        self.snapshot = Snapshot(shape)
        self._routes: Mapping[str, Route] = {}
        self._file = file
        self._unsaved = asyncio.Event()

    def apply(self, step: RouteStep) -> Snapshot:
        """Takes a step in and returns the snapshot after it."""
        before, self._routes = self._routes, step.apply(self._routes)
        changed = [route for route in step.routes if before.get(route.cluster) != route]
        removed = before.keys() - self._routes.keys() if step.snapshot else step.removed
        self.snapshot = self.snapshot.updated(step.version, changed, removed)
        for route in changed:
            if fault := self.snapshot.faulty.get(route.cluster):
                log.error("route cannot be served", cluster=route.cluster, fault=fault)
        if changed or removed:
            self._unsaved.set()
        return self.snapshot

    def restore(self) -> Snapshot | None:
        """Returns the snapshot of the last run; None without any, and then nothing must be served."""
        if (step := self._file.read()) is None:
            return None
        log.info("routes of the last run restored", routes=len(step.routes))
        return self.apply(step)

    async def save(self) -> None:
        """Keeps the file up to date."""
        while True:
            await self._unsaved.wait()
            self._unsaved.clear()
            await asyncio.to_thread(self._file.write, self.snapshot.version, list(self._routes.values()))
            await asyncio.sleep(_SAVE_INTERVAL_SECONDS)
