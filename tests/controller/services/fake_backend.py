"""A backend without processes: what it "runs" is a record, and tests hear of each start and stop."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace

from headrace_controller.backends.base import (
    SCHEDULER,
    BackendError,
    ExitCause,
    LogPiece,
    ProcessKey,
    ProcessSpec,
    ProcessState,
    ProcessStatus,
)

Key = tuple[str, str]


class FakeMachine:
    """What goes on running when backends (that is: controllers) come and go."""

    def __init__(self) -> None:
        self.specs: dict[Key, ProcessSpec] = {}
        self.statuses: dict[Key, ProcessStatus] = {}
        self.logs: dict[Key, list[bytes]] = defaultdict(list)
        self.kept_manifests: dict[str, bytes] = {}
        self.starts: list[Key] = []
        self.trouble: str = ""
        self.fails_to_start: str = ""
        self.on_start: Callable[[ProcessSpec], None] = lambda _spec: None
        self.on_exit: Callable[[ProcessKey], None] = lambda _key: None
        self.watchers: set[asyncio.Queue[ProcessStatus | None]] = set()
        self.log_news = asyncio.Event()

    def set(self, status: ProcessStatus) -> None:
        self.statuses[status.key.cluster, status.key.process] = status
        for watcher in self.watchers:
            watcher.put_nowait(status)
        if status.state is ProcessState.EXITED:
            self.on_exit(status.key)

    def exit(self, cluster: str, process: str = SCHEDULER, code: int = 1, cause: ExitCause = ExitCause.EXITED) -> None:
        old = self.statuses[cluster, process]
        if old.state is not ProcessState.EXITED:
            self.set(replace(old, state=ProcessState.EXITED, exit_code=code, cause=cause))

    def write_log(self, cluster: str, process: str, line: bytes) -> None:
        self.logs[cluster, process].append(line)
        self.log_news.set()
        self.log_news = asyncio.Event()

    def running(self, cluster: str | None = None) -> list[str]:
        return sorted(
            process
            for (name, process), status in self.statuses.items()
            if status.state is not ProcessState.EXITED and cluster in {None, name}
        )

    def check(self) -> None:
        if self.trouble:
            raise BackendError(self.trouble)


class FakeBackend:
    """One controller's view of the machine."""

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine
        self._queue: asyncio.Queue[ProcessStatus | None] = asyncio.Queue()

    async def open(self) -> None:
        self._machine.watchers.add(self._queue)

    async def close(self) -> None:
        self._machine.watchers.discard(self._queue)
        self._queue.put_nowait(None)

    async def start(self, specs: Sequence[ProcessSpec]) -> None:
        self._machine.check()
        for spec in specs:
            self._start(spec)

    def _start(self, spec: ProcessSpec) -> None:
        machine, key = self._machine, (spec.key.cluster, spec.key.process)
        if key in machine.statuses:
            return
        machine.starts.append(key)
        machine.specs[key] = spec
        if spec.manifest:
            machine.kept_manifests[spec.key.cluster] = spec.manifest
        status = ProcessStatus(
            key=spec.key,
            role=spec.role,
            generation=spec.generation,
            state=ProcessState.RUNNING,
            started=time.time(),
        )
        if machine.fails_to_start:
            machine.write_log(*key, machine.fails_to_start.encode())
            status = replace(status, state=ProcessState.EXITED, exit_code=7, cause=ExitCause.EXITED)
        machine.set(status)
        if status.state is ProcessState.RUNNING:
            machine.on_start(spec)

    async def stop(self, cluster: str, processes: Sequence[str] | None = None) -> None:
        self._machine.check()
        for name, process in list(self._machine.statuses):
            if name == cluster and (processes is None or process in processes):
                self._machine.exit(name, process, 0, ExitCause.STOPPED)

    async def observe(self, cluster: str | None = None) -> Sequence[ProcessStatus]:
        self._machine.check()
        return [status for (name, _), status in self._machine.statuses.items() if cluster in {None, name}]

    async def changes(self) -> AsyncIterator[ProcessStatus]:
        while (status := await self._queue.get()) is not None:
            yield status

    async def logs(
        self, cluster: str, process: str | None = None, *, tail_lines: int | None = None, follow: bool = False
    ) -> AsyncIterator[LogPiece]:
        read: dict[Key, int] = {}
        while True:
            news = self._machine.log_news
            for key, lines in list(self._machine.logs.items()):
                if key[0] != cluster or process not in {None, key[1]}:
                    continue
                start = read.get(key, max(0, len(lines) - tail_lines) if tail_lines is not None else 0)
                read[key] = len(lines)
                for line in lines[start:]:
                    yield LogPiece(key[1], line)
            if not follow:
                return
            await news.wait()

    async def forget(self, cluster: str) -> None:
        machine = self._machine
        machine.kept_manifests.pop(cluster, None)
        for mapping in (machine.statuses, machine.logs, machine.specs):
            for key in [key for key in mapping if key[0] == cluster]:
                mapping.pop(key)

    async def manifests(self) -> Mapping[str, bytes]:
        self._machine.check()
        return dict(self._machine.kept_manifests)

    async def update_manifest(self, cluster: str, manifest: bytes) -> None:
        self._machine.check()
        if cluster in self._machine.kept_manifests:
            self._machine.kept_manifests[cluster] = manifest
