"""What the controller knows of the processes, without asking: a copy of what the nursery has told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from weakref import WeakSet

import msgspec

from headrace_backend_local.protocol import Report
from headrace_controller.backends.base import ExitCause, ProcessKey, ProcessState, ProcessStatus

_LOST = "ended while nobody looked: what had started it was gone"


class Board:
    """The last report of each process, and a stream of those that differ from the one before."""

    def __init__(self) -> None:
        self._reports: dict[ProcessKey, Report] = {}
        self._streams: WeakSet[Changes] = WeakSet()
        self.changed = asyncio.Event()
        self.closed = False

    def put(self, report: Report) -> None:
        """Takes note of a report."""
        key = ProcessKey(report.cluster, report.process)
        if self._reports.get(key) != report:
            self._reports[key] = report
            self._tell(report)

    def replace(self, reports: Sequence[Report]) -> None:
        """Takes note of all that a nursery knows, which may be another than before."""
        present = {ProcessKey(r.cluster, r.process) for r in reports}
        for key, known in list(self._reports.items()):
            if key not in present and known.state is not ProcessState.EXITED:
                self.put(
                    msgspec.structs.replace(known, state=ProcessState.EXITED, cause=ExitCause.EXITED, message=_LOST)
                )
        for report in reports:
            self.put(report)

    def forget(self, cluster: str) -> None:
        """Drops what is known of a cluster."""
        self._reports = {key: report for key, report in self._reports.items() if key.cluster != cluster}
        self._wake()

    def close(self) -> None:
        """Ends all streams."""
        self.closed = True
        for stream in self._streams:
            stream.end()
        self._wake()

    def statuses(self, cluster: str | None = None) -> list[ProcessStatus]:
        """Returns what is known, of one cluster or of all."""
        return [_status(r) for key, r in self._reports.items() if cluster in {None, key.cluster}]

    def runs(self, key: ProcessKey) -> bool:
        """Whether a process runs or is to run."""
        known = self._reports.get(key)
        return known is not None and known.state is not ProcessState.EXITED

    def stream(self) -> Changes:
        """Returns a stream of changes from now on."""
        stream = Changes()
        self._streams.add(stream)
        if self.closed:
            stream.end()
        return stream

    def _tell(self, report: Report) -> None:
        for stream in self._streams:
            stream.put(_status(report))
        self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Changes(AsyncIterator[ProcessStatus]):
    """A stream of changes; it costs nothing any more once nobody holds it."""

    def __init__(self) -> None:
        self._waiting: deque[ProcessStatus | None] = deque()
        self._arrived = asyncio.Event()

    def put(self, status: ProcessStatus | None) -> None:
        """Adds a change, None for the end."""
        self._waiting.append(status)
        self._arrived.set()

    def end(self) -> None:
        """Ends the stream."""
        self.put(None)

    async def __anext__(self) -> ProcessStatus:
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        if (status := self._waiting[0]) is None:
            raise StopAsyncIteration
        self._waiting.popleft()
        return status


def _status(report: Report) -> ProcessStatus:
    return ProcessStatus(
        key=ProcessKey(report.cluster, report.process),
        role=report.role,
        generation=report.generation,
        state=report.state,
        exit_code=report.exit_code,
        cause=report.cause,
        message=report.message,
        started=report.started,
    )
