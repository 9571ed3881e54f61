"""ReadLogs: logs of one or all processes, and their continuation until the cluster has ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing, contextmanager
from typing import Any

from headrace.errors import InternalError, TooManyRequests, WorkerNotFound
from headrace.resource_names import user_name
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.enums import Right
from headrace_chassis.identity.caller import Caller
from headrace_controller.api.access import ClusterAccess
from headrace_controller.api.fields import at_least_zero, raise_violations
from headrace_controller.backends.base import FOLLOWED_AT_ONCE, Backend, BackendError, LogPiece
from headrace_controller.backends.process import SCHEDULER
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, WorkerId
from headrace_controller.store import Store

_PIECE_BYTES = 64 * 1024
# The last lines of a process may still be on their way when its cluster has ended.
_LAST_LINES_SECONDS = 0.3
_CHECK_SECONDS = 30.0
_RETRY_SECONDS = 1.0


class LogReading:
    """Answers ReadLogs.

    Parameters
    ----------
    per_user
        Number of logs that one user reads at once. The platform's API is asked for each, and may be slow or bill it.
    """

    def __init__(
        self, store: Store, mirror: ClusterMirror, access: ClusterAccess, backend: Backend, *, per_user: int
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._access = access
        self._backend = backend
        self._per_user = per_user
        self._read_by = Counter[str]()

    async def read(self, request: pb.ReadLogsRequest, caller: Caller) -> AsyncGenerator[pb.ReadLogsResponse]:
        """Stream logs."""
        raise_violations(at_least_zero("tail_lines", request.tail_lines))
        cluster = await self._access.get(request.name, caller)
        await self._check_process(cluster, request.process)
        with self._counted(caller.user, 1 if request.process else FOLLOWED_AT_ONCE):
            async with aclosing(self._responses(cluster, request, caller)) as responses:
                try:
                    async for response in responses:
                        yield response
                except BackendError as error:
                    message = f"cluster {cluster.id}: {error}. Try again, or ask an administrator."
                    raise InternalError(message) from error

    @contextmanager
    def _counted(self, user: str, logs: int) -> Generator[None]:
        if self._read_by[user] + logs > self._per_user:
            raise TooManyRequests.of(
                f"{user_name(user)} reads {self._read_by[user]} logs at once here, and may read {self._per_user}; all "
                f"processes of a cluster count as {FOLLOWED_AT_ONCE}. End some `logs --follow`, or read the log of a "
                "single process",
                _RETRY_SECONDS,
            )
        self._read_by[user] += logs
        try:
            yield
        finally:
            self._read_by[user] -= logs
            if not self._read_by[user]:
                del self._read_by[user]

    async def _responses(
        self, cluster: Cluster, request: pb.ReadLogsRequest, caller: Caller
    ) -> AsyncGenerator[pb.ReadLogsResponse]:
        follow = request.follow and not cluster.status.phase.ended
        positions = {process: token for process, token in request.resume_tokens.items() if token}
        pieces = self._backend.logs(
            cluster.id,
            request.process or None,
            tail_lines=request.tail_lines or None,
            follow=follow,
            positions=positions,
        )
        async for piece in self._until_ended(cluster, caller, pieces) if follow else pieces:
            for response in split(piece, positions.get(piece.process, "")):
                yield response
            positions[piece.process] = piece.position

    async def _check_process(self, cluster: Cluster, process: str) -> None:
        if process in {"", SCHEDULER} or WorkerId(process) in cluster.workers:
            return
        # The backend keeps logs longer than the record keeps ended workers.
        if process not in {status.key.process for status in await self._backend.observe(cluster.id)}:
            raise WorkerNotFound(
                f"cluster {cluster.id} has no process {process[:100]!r}; it is 'scheduler' or the id of a worker"
            )

    async def _until_ended(
        self, cluster: Cluster, caller: Caller, pieces: AsyncIterator[LogPiece]
    ) -> AsyncIterator[LogPiece]:
        ended = asyncio.create_task(self._wait_for_end(cluster, caller))
        piece = asyncio.ensure_future(anext(pieces, None))
        try:
            while True:
                await asyncio.wait({ended, piece}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    ended.result()
                    await asyncio.wait({piece}, timeout=_LAST_LINES_SECONDS)
                if not piece.done() or (read := piece.result()) is None:
                    return
                yield read
                piece = asyncio.ensure_future(anext(pieces, None))
        finally:
            await _cancel(ended, piece)

    async def _wait_for_end(self, cluster: Cluster, caller: Caller) -> None:
        """Return when the cluster has ended; raise if the caller may no longer view it."""
        position = await self._store.changes.head()
        await self._mirror.fresh()
        while (now := self._mirror.get(cluster.id)) is not None and not now.status.phase.ended:
            self._access.check(now, caller, Right.CLUSTER_VIEW)
            within = min(_CHECK_SECONDS, self._access.seconds_to_next_end(now))
            _, position = await self._mirror.changes.about(("cluster", cluster.id), position, within)


def split(piece: LogPiece, before: str) -> list[pb.ReadLogsResponse]:
    """Split a piece into responses. Only the last one has the piece's position, the others have the one `before`."""
    parts = [piece.lines[start : start + _PIECE_BYTES] for start in range(0, len(piece.lines), _PIECE_BYTES)]
    tokens = [*[before] * (len(parts) - 1), piece.position]
    return [
        pb.ReadLogsResponse(process=piece.process, lines=lines, resume_token=token)
        for lines, token in zip(parts, tokens, strict=False)
    ]


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
