"""All routes as the controller sent them last: in memory, as a snapshot, and on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from headrace_chassis.logs import get_logger
from headrace_chassis.routes import Route, RouteChange
from headrace_proxy.routes.route_file import RouteFile
from headrace_proxy.xds.snapshot import Snapshot
from headrace_proxy.xds.upstream import UpstreamTemplate

log = get_logger()

_SAVE_INTERVAL_SECONDS = 0.2
_RETRY_SECONDS = 5.0


class RouteTable:
    """The routes, and the snapshot computed from them."""

    def __init__(self, template: UpstreamTemplate, file: RouteFile) -> None:
        self._snapshot = Snapshot(template)
        self._routes: Mapping[str, Route] = {}
        self._file = file
        self._unsaved = asyncio.Event()

    def apply(self, change: RouteChange) -> Snapshot:
        """Apply a change; return the snapshot after it."""
        before, self._routes = self._routes, change.apply(self._routes)
        changed = [route for route in change.routes if before.get(route.cluster) != route]
        removed = before.keys() - self._routes.keys()
        self._snapshot = self._snapshot.updated(change.version, changed, removed)
        for route in changed:
            if fault := self._snapshot.faults.get(route.cluster):
                log.error("route cannot be served", cluster=route.cluster[:80], fault=fault)
        if changed or removed:
            self._unsaved.set()
        return self._snapshot

    def restore(self) -> Snapshot | None:
        """Return the snapshot of the last run; None if there is none: then nothing must be served yet."""
        if (change := self._file.read()) is None:
            return None
        log.info("routes of the last run restored", routes=len(change.routes))
        return self.apply(change)

    async def save(self) -> None:
        """Keep the file up to date; runs until cancelled."""
        while True:
            await self._unsaved.wait()
            self._unsaved.clear()
            try:
                await asyncio.to_thread(self._file.write, self._snapshot.version, list(self._routes.values()))
            except OSError as error:  # a full disk, for one; Envoys and the controller have them too
                log.warning("the routes cannot be saved", file=str(self._file.path), error=str(error))
                self._unsaved.set()
                await asyncio.sleep(_RETRY_SECONDS)
            await asyncio.sleep(_SAVE_INTERVAL_SECONDS)
