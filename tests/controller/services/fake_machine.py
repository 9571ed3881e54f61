"""A machine without processes: what it "runs" is a record, and tests hear of each start and end."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from tests.backends.local.programs import NO_SUCH_COMMAND, Program

from headrace_controller.backends.base import (
    SCHEDULER,
    BackendError,
    ExitCause,
    ProcessKey,
    ProcessSpec,
    ProcessState,
    ProcessStatus,
    Role,
)

Key = tuple[str, str]


class FakeMachine:
    """What goes on running when backends (that is: controllers) come and go.

    A process plays the `Program` in its options; one without is a Dask process, and `on_start` stands for its agent.
    """

    def __init__(self) -> None:
        self.specs: dict[Key, ProcessSpec] = {}
        self.statuses: dict[Key, ProcessStatus] = {}
        self.logs: dict[Key, bytes] = defaultdict(bytes)
        self.kept_manifests: dict[str, bytes] = {}
        self.starts: list[Key] = []
        self.stops: dict[str, bytes | None] = {}  # of whole clusters, with the manifest that was kept then
        self.stops_at_once = asyncio.Event()
        self.stops_at_once.set()
        self.trouble: str = ""
        self.unforgettable: set[str] = set()  # clusters whose files cannot be removed
        self.fails_to_start: str = ""
        self.on_start: Callable[[ProcessSpec], None] = lambda _spec: None
        self.on_exit: Callable[[ProcessKey], None] = lambda _key: None
        self.watchers: set[asyncio.Queue[ProcessStatus | None]] = set()
        self.log_news = asyncio.Event()

    def start(self, spec: ProcessSpec) -> None:
        """Starts what does not run."""
        key = (spec.key.cluster, spec.key.process)
        if self.runs(*key):
            return
        self.starts.append(key)
        self.specs[key] = spec
        if spec.manifest and spec.role is Role.SCHEDULER:
            self.kept_manifests[spec.key.cluster] = spec.manifest
        status = ProcessStatus(
            key=spec.key,
            role=spec.role,
            generation=spec.generation,
            state=ProcessState.RUNNING,
            started=time.time(),
        )
        self._play(status, self._program(*key))

    def set(self, status: ProcessStatus) -> None:
        self.statuses[status.key.cluster, status.key.process] = status
        for watcher in self.watchers:
            watcher.put_nowait(status)
        if status.state is ProcessState.EXITED:
            self.on_exit(status.key)
        self._wake()  # the last line of a log is whole now

    def stop(self, cluster: str, process: str) -> None:
        """Asks first, and kills what does not hear."""
        if self.runs(cluster, process):
            program = self._program(cluster, process) or Program()
            self.write_log(cluster, process, program.goodbye.encode())
            self.exit(cluster, process, -9 if program.deaf else 0, ExitCause.STOPPED)

    def exit(self, cluster: str, process: str = SCHEDULER, code: int = 1, cause: ExitCause = ExitCause.EXITED) -> None:
        if self.runs(cluster, process):
            ended = replace(self.statuses[cluster, process], state=ProcessState.EXITED, exit_code=code, cause=cause)
            self.set(replace(ended, message=_sentence(code, cause)))

    def write_log(self, cluster: str, process: str, lines: bytes) -> None:
        self.logs[cluster, process] += lines
        self._wake()

    def runs(self, cluster: str, process: str) -> bool:
        """Whether it has started and not ended."""
        status = self.statuses.get((cluster, process))
        return status is not None and status.state is not ProcessState.EXITED

    def running(self, cluster: str | None = None) -> list[str]:
        return sorted(
            process for name, process in self.statuses if cluster in {None, name} and self.runs(name, process)
        )

    def check(self) -> None:
        if self.trouble:
            raise BackendError(self.trouble)

    def _program(self, cluster: str, process: str) -> Program | None:
        spec = self.specs.get((cluster, process))
        program = spec.options.get("program") if spec else None
        if isinstance(program, Program):
            return program
        return Program(says=self.fails_to_start, code=7) if self.fails_to_start else None

    def _play(self, status: ProcessStatus, program: Program | None) -> None:
        key = (status.key.cluster, status.key.process)
        if program is None:
            self.set(status)
            self.on_start(self.specs[key])
        elif program.missing:
            message = f"there is no {NO_SUCH_COMMAND}"
            self.write_log(*key, f"{message}\n".encode())
            failed = replace(status, state=ProcessState.EXITED, exit_code=127, cause=ExitCause.START_FAILED)
            self.set(replace(failed, message=message))
        else:
            self.set(status)
            self.write_log(*key, program.says.encode())
            if program.code is not None:
                self.exit(*key, program.code)

    def _wake(self) -> None:
        self.log_news.set()
        self.log_news = asyncio.Event()


def _sentence(code: int, cause: ExitCause) -> str:
    if cause is ExitCause.STOPPED:
        return "stopped as asked"
    return f"killed by signal {-code}" if code < 0 else f"exited with code {code}"
