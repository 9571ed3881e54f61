"""A backend without processes. It passes the same contract as those that have them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from tests.controller.services.fake_machine import FakeMachine, Key

from headrace_controller.backends.base import SCHEDULER, BackendError, LogPiece, ProcessSpec, ProcessStatus

PIECE_BYTES = 64 * 1024


class FakeBackend:
    """One controller's view of the machine."""

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine
        self._streams: set[asyncio.Queue[ProcessStatus | None]] = set()

    async def open(self) -> None:
        self._machine.check()

    async def close(self) -> None:
        self._machine.watchers -= self._streams
        for stream in self._streams:
            stream.put_nowait(None)

    async def start(self, specs: Sequence[ProcessSpec]) -> None:
        self._machine.check()
        for spec in specs:
            self._machine.start(spec)
        await asyncio.sleep(0)  # who follows the changes hears of it first

    async def stop(self, cluster: str, processes: Sequence[str] | None = None) -> None:
        self._machine.check()
        if processes is None:
            self._machine.stops[cluster] = self._machine.kept_manifests.get(cluster)
        await self._machine.stops_at_once.wait()
        for name, process in list(self._machine.statuses):
            if name == cluster and (processes is None or process in processes):
                self._machine.stop(name, process)

    async def observe(self, cluster: str | None = None) -> Sequence[ProcessStatus]:
        self._machine.check()
        return [status for (name, _), status in self._machine.statuses.items() if cluster in {None, name}]

    def changes(self) -> AsyncIterator[ProcessStatus]:
        stream: asyncio.Queue[ProcessStatus | None] = asyncio.Queue()
        self._streams.add(stream)
        self._machine.watchers.add(stream)
        return _until_end(stream)

    async def logs(
        self, cluster: str, process: str | None = None, *, tail_lines: int | None = None, follow: bool = False
    ) -> AsyncIterator[LogPiece]:
        self._machine.check()
        read: dict[Key, int] = {}
        while True:
            news = self._machine.log_news
            for key, written in list(self._machine.logs.items()):
                if key[0] != cluster or process not in {None, key[1]}:
                    continue
                start = read.setdefault(key, _tail(written, tail_lines))
                for lines in _pieces(written[start:], ended=not self._machine.runs(*key)):
                    read[key] += len(lines)
                    yield LogPiece(key[1], lines)
            if not follow:
                return
            tail_lines = None  # of logs that appear later everything is new
            await news.wait()

    async def forget(self, cluster: str) -> None:
        machine = self._machine
        machine.check()
        if cluster in machine.unforgettable:
            raise BackendError(f"the files of {cluster} cannot be removed")
        machine.kept_manifests.pop(cluster, None)
        for mapping in (machine.statuses, machine.logs, machine.specs):
            for key in [key for key in mapping if key[0] == cluster]:
                mapping.pop(key)

    async def manifests(self) -> Mapping[str, bytes]:
        self._machine.check()
        kept = self._machine.kept_manifests
        return {cluster: manifest for cluster, manifest in kept.items() if self._machine.runs(cluster, SCHEDULER)}

    async def update_manifest(self, cluster: str, manifest: bytes) -> None:
        self._machine.check()
        if self._machine.runs(cluster, SCHEDULER):
            self._machine.kept_manifests[cluster] = manifest


async def _until_end(stream: asyncio.Queue[ProcessStatus | None]) -> AsyncIterator[ProcessStatus]:
    while (status := await stream.get()) is not None:
        yield status


def _tail(written: bytes, lines: int | None) -> int:
    """Returns where the last `lines` lines begin; the beginning with None."""
    every = written.splitlines(keepends=True)
    return 0 if lines is None else sum(map(len, every[: max(0, len(every) - lines)]))


def _pieces(written: bytes, *, ended: bool) -> Iterator[bytes]:
    """Yields whole lines; a line without an end only when none can come any more, or it is too long for a piece."""
    while written:
        piece = written[:PIECE_BYTES]
        newline = piece.rfind(b"\n") + 1
        without_end = newline == 0 if len(piece) == PIECE_BYTES else ended
        if not (length := len(piece) if without_end else newline):
            return
        yield piece[:length]
        written = written[length:]
