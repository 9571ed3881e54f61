"""A machine without processes: a "running" process is a record, and tests are called at each start and exit."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tests.backends.programs import NO_SUCH_COMMAND, Program

from headrace.option_types import OptionValue
from headrace.v1.enums import ExitCause, WaitReason
from headrace_controller.backends.base import BackendError, Network
from headrace_controller.backends.changes import ChangeFeed
from headrace_controller.backends.contact import ContactRecord
from headrace_controller.backends.process import (
    SCHEDULER,
    ProcessKey,
    ProcessSpec,
    ProcessState,
    ProcessStatus,
    Role,
)
from headrace_controller.options.catalogue import Option

Key = tuple[str, str]


class FakeMachine:
    """What runs on when backends (that is, controllers) come and go.

    A process plays the `Program` in its settings; one without is a Dask process, and `on_start` stands for its agent.
    Nothing takes longer with more clusters or workers, but `running` and what `observe` returns.
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
        self.contact = ContactRecord()
        self.trouble: str = ""
        self.trouble_cause: ExitCause | None = None
        self.trouble_wait: WaitReason | None = None
        self.unforgettable: set[str] = set()  # clusters whose files cannot be removed
        self.fails_to_start: str = ""
        self.options: Sequence[Option] = ()  # the backend's own
        self.fixed_options: Mapping[str, Mapping[str, OptionValue]] = {}  # of new clusters of any profile
        self.unseen: set[str] = set()  # clusters whose processes backends cannot look for
        self.never_takes: Callable[[ProcessSpec], ExitCause | None] = lambda _spec: None  # for good, and why
        self.waits: Callable[[ProcessSpec], WaitReason | None] = lambda _spec: None
        self.on_start: Callable[[ProcessSpec], None] = lambda _spec: None
        self.on_exit: Callable[[ProcessKey], None] = lambda _key: None
        self.network = Network(
            agent_endpoint="unix:/nowhere",
            listen_host="127.0.0.1",
            dns_names=("localhost",),
            ip_addresses=("127.0.0.1", "::1"),
        )
        self.feeds: set[ChangeFeed] = set()
        self._names: dict[str, dict[str, None]] = {}  # of processes, by cluster, in the order of their starts
        self._news: dict[str, asyncio.Event] = {}

    def start(self, spec: ProcessSpec) -> None:
        """Starts a process that does not run."""
        key = (spec.key.cluster, spec.key.process)
        if self.runs(*key):
            return
        if (cause := self.never_takes(spec)) is not None:
            raise BackendError(f"the machine takes no {spec.role}: {cause.lower()}", cause=cause)
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
            host="fake",
        )
        if (reason := self.waits(spec)) is not None:
            self.set(replace(status, state=ProcessState.PENDING, started=0.0, wait=reason, message="0/3 nodes"))
        else:
            self._play(status, self._program(*key))

    def let_run(self, cluster: str, process: str = SCHEDULER) -> None:
        """Lets a process run that waits."""
        waiting = self.statuses[cluster, process]
        running = replace(waiting, state=ProcessState.RUNNING, started=time.time(), wait=None, message="")
        self._play(running, self._program(cluster, process))

    def announce_end(self, cluster: str, process: str, cause: ExitCause) -> None:
        """Says that others are ending a process."""
        self.set(replace(self.statuses[cluster, process], leaving=cause, message="the node is drained"))

    def set(self, status: ProcessStatus) -> None:
        cluster, process = status.key.cluster, status.key.process
        self._names.setdefault(cluster, {})[process] = None
        self.statuses[cluster, process] = status
        for feed in self.feeds:
            feed.publish(status)
        if status.state is ProcessState.EXITED:
            self.on_exit(status.key)
        self._wake(cluster)  # the last line of a log is whole now

    def stop(self, cluster: str, process: str) -> None:
        """Terminates a process; one that ignores it is killed."""
        if self.runs(cluster, process):
            program = self._program(cluster, process) or Program()
            self.write_log(cluster, process, program.goodbye.encode())
            self.exit(cluster, process, -9 if program.deaf else 0, ExitCause.STOPPED)

    def exit(self, cluster: str, process: str = SCHEDULER, code: int = 1, cause: ExitCause = ExitCause.EXITED) -> None:
        if self.runs(cluster, process):
            exited = replace(
                self.statuses[cluster, process],
                state=ProcessState.EXITED,
                exit_code=code,
                exit_cause=cause,
                wait=None,
                leaving=None,
            )
            self.set(exited)

    def forget(self, cluster: str) -> None:
        if cluster in self.unforgettable:
            raise BackendError(f"the files of {cluster} cannot be removed")
        self.kept_manifests.pop(cluster, None)
        for process in self._names.pop(cluster, {}):
            for mapping in (self.statuses, self.logs, self.specs):
                mapping.pop((cluster, process), None)
        self._wake(cluster)

    def write_log(self, cluster: str, process: str, lines: bytes) -> None:
        self._names.setdefault(cluster, {})[process] = None
        self.logs[cluster, process] += lines
        self._wake(cluster)

    def names(self, cluster: str) -> list[str]:
        """The processes of a cluster, exited ones included."""
        return list(self._names.get(cluster, {}))

    def runs(self, cluster: str, process: str) -> bool:
        """Whether it has started and not exited."""
        status = self.statuses.get((cluster, process))
        return status is not None and status.state is not ProcessState.EXITED

    def running(self, cluster: str | None = None) -> list[str]:
        keys = self.statuses if cluster is None else [(cluster, process) for process in self.names(cluster)]
        return sorted(process for name, process in keys if self.runs(name, process))

    def next_change(self, cluster: str) -> asyncio.Event:
        """Returns an event that is set at the next change of a cluster or its logs."""
        return self._news.setdefault(cluster, asyncio.Event())

    def check(self) -> None:
        if self.trouble:
            raise BackendError(self.trouble, cause=self.trouble_cause, wait=self.trouble_wait)

    def _program(self, cluster: str, process: str) -> Program | None:
        spec = self.specs.get((cluster, process))
        program = spec.settings.get("program") if spec else None
        if isinstance(program, Program):
            return program
        return Program(writes=self.fails_to_start, code=7) if self.fails_to_start else None

    def _play(self, status: ProcessStatus, program: Program | None) -> None:
        key = (status.key.cluster, status.key.process)
        if program is None:
            self.set(status)
            self.on_start(self.specs[key])
        elif program.missing:
            message = f"there is no {NO_SUCH_COMMAND}"
            self.write_log(*key, f"{message}\n".encode())
            failed = replace(status, state=ProcessState.EXITED, exit_code=127, exit_cause=ExitCause.START_FAILED)
            self.set(replace(failed, message=message))
        else:
            self.set(status)
            self.write_log(*key, b"127.0.0.1:40000\n" if program.listens else program.writes.encode())
            if program.code is not None:
                self.exit(*key, program.code)

    def _wake(self, cluster: str) -> None:
        if event := self._news.pop(cluster, None):
            event.set()
