"""A backend without processes. It passes the same contract as those that have them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from tests.backends.fake_machine import FakeMachine

from headrace.option_types import OptionValue
from headrace_controller.backends.addresses import parse_address
from headrace_controller.backends.base import AddressRefused, Capabilities, LogPiece, Network
from headrace_controller.backends.changes import ChangeFeed
from headrace_controller.backends.process import SCHEDULER, ProcessSpec, ProcessStatus

PIECE_BYTES = 64 * 1024


class FakeBackend:
    """One controller's view of the machine."""

    capabilities = Capabilities(stop_seconds=0.1, notice_seconds=0.1, warm=True)

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine
        self._feed = ChangeFeed()
        self.contact = machine.contact

    async def open(self) -> None:
        self._machine.check()
        self._machine.feeds.add(self._feed)

    async def close(self) -> None:
        self._machine.feeds.discard(self._feed)
        self._feed.close()

    def fixed_options(self, profile: str) -> Mapping[str, Mapping[str, OptionValue]]:
        return self._machine.fixed_options

    def locate(self, cluster: str, fixed: Mapping[str, Mapping[str, OptionValue]]) -> None:
        """Nothing to do: there is one machine."""

    def located(self, cluster: str) -> bool:
        return cluster not in self._machine.unseen

    async def start(self, specs: Sequence[ProcessSpec]) -> None:
        self._machine.check()
        for spec in specs:
            self._machine.start(spec)
        await asyncio.sleep(0)  # those who read the changes run once before this returns

    async def stop(self, cluster: str, processes: Sequence[str] | None = None) -> None:
        self._machine.check()
        if processes is None:
            self._machine.stops[cluster] = self._machine.kept_manifests.get(cluster)
        await self._machine.stops_at_once.wait()
        for process in self._machine.names(cluster) if processes is None else processes:
            self._machine.stop(cluster, process)

    async def observe(self, cluster: str | None = None) -> Sequence[ProcessStatus]:
        self._machine.check()
        statuses = self._machine.statuses
        if cluster is None:
            return list(statuses.values())
        keys = ((cluster, process) for process in self._machine.names(cluster))
        return [statuses[key] for key in keys if key in statuses]

    def changes(self) -> AsyncIterator[ProcessStatus]:
        return self._feed.stream()

    async def logs(
        self,
        cluster: str,
        process: str | None = None,
        *,
        tail_lines: int | None = None,
        follow: bool = False,
        positions: Mapping[str, str] | None = None,
    ) -> AsyncIterator[LogPiece]:
        self._machine.check()
        read: dict[str, int] = {}
        while True:
            news = self._machine.next_change(cluster)
            for name in self._machine.names(cluster) if process is None else [process]:
                written = self._machine.logs.get((cluster, name), b"")
                if name not in read:
                    read[name] = _start(written, (positions or {}).get(name, ""), tail_lines)
                for lines in _pieces(written[read[name] :], ended=not self._machine.runs(cluster, name)):
                    read[name] += len(lines)
                    yield LogPiece(name, lines, str(read[name]))
            if not follow:
                return
            tail_lines = None  # logs that appear later are new from their start
            await news.wait()

    def network(self, cluster: str, process: str) -> Network:
        return self._machine.network

    async def check_address(self, cluster: str, process: str, address: str) -> None:
        """Every port of the loopback device is one of the machine's processes; nobody really listens."""
        self._machine.check()
        if (ip := parse_address(address).ip) is None or not ip.is_loopback:
            raise AddressRefused("it is not an address of the fake machine")

    async def forget(self, cluster: str) -> None:
        self._machine.check()
        self._machine.forget(cluster)

    async def manifest(self, cluster: str) -> bytes | None:
        self._machine.check()
        return self._machine.kept_manifests.get(cluster) if self._machine.runs(cluster, SCHEDULER) else None

    async def manifests(self) -> Mapping[str, bytes]:
        self._machine.check()
        kept = self._machine.kept_manifests
        return {cluster: manifest for cluster, manifest in kept.items() if self._machine.runs(cluster, SCHEDULER)}

    async def update_manifest(self, cluster: str, manifest: bytes) -> None:
        self._machine.check()
        if self._machine.runs(cluster, SCHEDULER):
            self._machine.kept_manifests[cluster] = manifest


def _start(written: bytes, position: str, tail_lines: int | None) -> int:
    """Returns where to start reading: at a position that this backend gave, else before the last lines."""
    if position.isdecimal():
        return min(int(position), len(written))
    every = written.splitlines(keepends=True)
    return 0 if tail_lines is None else sum(map(len, every[: max(0, len(every) - tail_lines)]))


def _pieces(written: bytes, *, ended: bool) -> Iterator[bytes]:
    """Yields whole lines; a line without an end only if its process has ended, or it is too long for a piece."""
    while written:
        piece = written[:PIECE_BYTES]
        newline = piece.rfind(b"\n") + 1
        without_end = newline == 0 if len(piece) == PIECE_BYTES else ended
        if not (length := len(piece) if without_end else newline):
            return
        yield piece[:length]
        written = written[length:]
