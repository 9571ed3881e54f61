"""Logs of a cluster's processes: one after the other, or all at once as they are written."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping

from headrace.backoff import delays
from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.faults import ApiError, Unreachable, backend_error
from headrace_backend_kubernetes.last_words import LastWords
from headrace_backend_kubernetes.log_stream import Position, pieces
from headrace_backend_kubernetes.objects import Pod
from headrace_backend_kubernetes.pod_table import PodTable
from headrace_controller.backends.base import FOLLOWED_AT_ONCE, LogPiece
from headrace_controller.backends.process import ProcessKey

_NOT_THERE_YET = frozenset({400, 404})  # no container was started, or its log is gone
_WAITING_PIECES = 64


class Logs:
    """Reads logs through the API server, and what is kept of those that it has no more."""

    def __init__(self, api: Api, table: PodTable, last_words: LastWords) -> None:
        self._api = api
        self._table = table
        self._last_words = last_words

    async def read(
        self, cluster: str, process: str | None, *, tail_lines: int | None, positions: Mapping[str, str]
    ) -> AsyncIterator[LogPiece]:
        """Yields what has been written, process by process."""
        for pod in sorted(self._pods(cluster, process), key=_process):
            position = Position.parse(positions.get(pod.process, ""), pod)
            async for piece in self._pod(pod, position, None if position else tail_lines, follow=False):
                yield piece

    async def follow(
        self, cluster: str, process: str | None, *, tail_lines: int | None, positions: Mapping[str, str]
    ) -> AsyncIterator[LogPiece]:
        """Yields lines as they are written, also of processes that are launched later, until the reader stops.

        At most 100 processes are followed at once; the others follow as those end.
        """
        following = _Following(self, positions)
        starting = asyncio.create_task(self._start_all(following, cluster, process, tail_lines))
        try:
            while (read := await following.read.get()) is not None:
                if isinstance(read, Exception):
                    raise read
                yield read
        finally:
            starting.cancel()
            await following.close()

    async def _start_all(
        self, following: _Following, cluster: str, process: str | None, tail_lines: int | None
    ) -> None:
        while (changed := self._table.next_change(cluster)) is not None:
            following.start(self._pods(cluster, process), tail_lines)
            tail_lines = None  # logs that appear later are new from their start
            await changed.wait()
        await following.read.put(None)

    async def follow_pod(self, pod: Pod, position: Position | None, tail_lines: int | None) -> AsyncIterator[LogPiece]:
        """Yields the log of a pod until it ends; goes on where a broken connection has stopped."""
        pauses = delays(0.1, 5.0)
        key = ProcessKey(pod.cluster, pod.process)
        while True:
            runs = self._runs(key, pod)
            with contextlib.suppress(Unreachable):
                async for piece in self._pod(pod, position, None if position else tail_lines, follow=runs):
                    position = Position.parse(piece.position, pod) or position
                    pauses = delays(0.1, 5.0)
                    yield piece
                if not runs:
                    return
            changed = self._table.next_change(pod.cluster)
            if changed is None:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), next(pauses))

    def _runs(self, key: ProcessKey, pod: Pod) -> bool:
        now = self._table.pod(key)
        return now is not None and now.uid == pod.uid and self._table.runs(key)

    def _pods(self, cluster: str, process: str | None) -> list[Pod]:
        if process is None:
            return self._table.pods(cluster)
        pod = self._table.pod(ProcessKey(cluster, process))
        return [pod] if pod else []

    async def _pod(
        self, pod: Pod, position: Position | None, tail_lines: int | None, *, follow: bool
    ) -> AsyncIterator[LogPiece]:
        if tail_lines == 0 and not follow:
            return
        if not follow and await self._last_words.has(pod):
            read = pieces(pod.process, pod, self._last_words.of(pod, tail_lines), position)
        else:
            read = self._asked(pod, position, tail_lines, follow=follow)
        async for piece in read:
            yield piece

    async def _asked(
        self, pod: Pod, position: Position | None, tail_lines: int | None, *, follow: bool
    ) -> AsyncIterator[LogPiece]:
        since = position.since_seconds(time.time()) if position else None
        try:
            async with self._api.log(pod, follow=follow, tail_lines=tail_lines, since_seconds=since) as chunks:
                async for piece in pieces(pod.process, pod, chunks, position):
                    yield piece
        except ApiError as error:
            if error.code not in _NOT_THERE_YET:
                raise backend_error(f"the log of {pod.process} cannot be read", error) from error
        except Unreachable as error:
            if follow:
                raise
            raise backend_error(f"the log of {pod.process} cannot be read", error) from error


class _Following:
    """Reads several logs at once into one queue; None ends it."""

    def __init__(self, logs: Logs, positions: Mapping[str, str]) -> None:
        self.read: asyncio.Queue[LogPiece | Exception | None] = asyncio.Queue(_WAITING_PIECES)
        self._logs = logs
        self._positions = positions
        self._room = asyncio.Semaphore(FOLLOWED_AT_ONCE)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, pods: list[Pod], tail_lines: int | None) -> None:
        for pod in pods:
            if pod.uid not in self._tasks:
                self._tasks[pod.uid] = asyncio.create_task(self._follow(pod, tail_lines))

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _follow(self, pod: Pod, tail_lines: int | None) -> None:
        position = Position.parse(self._positions.get(pod.process, ""), pod)
        try:
            async with self._room:
                async for piece in self._logs.follow_pod(pod, position, tail_lines):
                    await self.read.put(piece)
        except Exception as error:  # noqa: BLE001 the reader raises it
            await self.read.put(error)


def _process(pod: Pod) -> str:
    return pod.process
