"""Reads logs for users: of one or all processes, with their end followed until the cluster has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from headrace.errors import WorkerNotFound
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.identity.caller import Caller
from headrace_controller.api import requests
from headrace_controller.backends.base import SCHEDULER, Backend, LogPiece
from headrace_controller.clusters.access import Access
from headrace_controller.model import Cluster, ClusterId, WorkerId
from headrace_controller.reconciling.processes import Processes
from headrace_controller.store import Change, Store
from headrace_controller.store.tail import Tail

_PIECE_BYTES = 64 * 1024
# What a process wrote last may still be on its way when its cluster has ended.
_LAST_WORDS_SECONDS = 0.3
_LOOK_SECONDS = 30.0


class LogReading:
    """Answers ReadLogs."""

    def __init__(
        self, store: Store, access: Access, backend: Backend, processes: Processes, tail: Tail[Change]
    ) -> None:
        self._store = store
        self._access = access
        self._backend = backend
        self._processes = processes
        self._tail = tail

    async def read(self, request: pb.ReadLogsRequest, caller: Caller) -> AsyncIterator[pb.ReadLogsResponse]:
        """Pieces of logs."""
        tail_lines = requests.tail_lines(request)
        cluster = await self._access.get(request.parent, caller, "parent")
        self._check_process(cluster, request.process)
        follow = request.follow and not cluster.status.phase.ended
        pieces = self._backend.logs(cluster.id, request.process or None, tail_lines=tail_lines, follow=follow)
        async for piece in self._until_ended(cluster.id, pieces) if follow else pieces:
            for start in range(0, len(piece.lines), _PIECE_BYTES):
                lines = piece.lines[start : start + _PIECE_BYTES]
                yield pb.ReadLogsResponse(process=piece.process, lines=lines)

    def _check_process(self, cluster: Cluster, process: str) -> None:
        known = {"", SCHEDULER, *cluster.status.workers, *self._processes.of(cluster.id)}
        if WorkerId(process) not in known:
            raise WorkerNotFound(
                f"cluster {cluster.id} has no process {process[:100]!r}; it is 'scheduler' or the id of a worker"
            )

    async def _until_ended(self, cluster: ClusterId, pieces: AsyncIterator[LogPiece]) -> AsyncIterator[LogPiece]:
        ended = asyncio.create_task(self._ended(cluster))
        piece = asyncio.ensure_future(anext(pieces, None))
        try:
            while True:
                await asyncio.wait({ended, piece}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    ended.result()
                    await asyncio.wait({piece}, timeout=_LAST_WORDS_SECONDS)
                if not piece.done() or (said := piece.result()) is None:
                    return
                yield said
                piece = asyncio.ensure_future(anext(pieces, None))
        finally:
            await _cancel(ended, piece)

    async def _ended(self, cluster: ClusterId) -> None:
        position = await self._store.changes_head()
        while not (await self._store.get(cluster)).status.phase.ended:
            changes: list[Change] = []
            while not any(change.cluster == cluster for change in changes):
                changes = await self._tail.after(position, _LOOK_SECONDS)
                position = changes[-1].id if changes else position


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
