"""What the nursery knows of one process."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

import msgspec

from headrace_backend_local.marks import Mark
from headrace_backend_local.protocol import Order, Report
from headrace_backend_local.zygote.child import Child
from headrace_controller.backends.base import ExitCause, ProcessKey, ProcessState


@dataclass(slots=True, eq=False)
class Record:
    """A process: what is told of it, and what is needed to look after it."""

    report: Report
    log: str
    child: Child | None = None
    stopping: bool = False

    @classmethod
    def of(cls, order: Order) -> Record:
        """Begins the record of a process that is to be started."""
        report = Report(
            cluster=order.cluster,
            process=order.process,
            role=order.role,
            generation=order.generation,
            state=ProcessState.PENDING,
        )
        return cls(report, order.log)

    @classmethod
    def adopted(cls, mark: Mark, child: Child, log: str) -> Record:
        """Begins the record of a process that was found running."""
        report = Report(
            cluster=mark.key.cluster,
            process=mark.key.process,
            role=mark.role,
            generation=mark.generation,
            state=ProcessState.RUNNING,
            started=child.started,
            pid=child.pid,
        )
        return cls(report, log, child)

    @property
    def key(self) -> ProcessKey:
        """The name of the process."""
        return ProcessKey(self.report.cluster, self.report.process)

    @property
    def live(self) -> bool:
        """Whether it runs or is to run."""
        return self.report.state is not ProcessState.EXITED

    def runs(self, child: Child) -> None:
        """Notes that it runs."""
        self.child = child
        self.report = msgspec.structs.replace(
            self.report,
            state=ProcessState.RUNNING,
            started=time.time(),  # not the child's own: one in standby is older
            pid=child.pid,
        )

    def ended(self, code: int | None, cause: ExitCause, message: str) -> None:
        """Notes that it has ended."""
        self.report = msgspec.structs.replace(
            self.report, state=ProcessState.EXITED, exit_code=code, cause=cause, message=message
        )


def explain(code: int | None, *, stopped: bool, out_of_memory: bool) -> tuple[ExitCause, str]:
    """Returns why a process has ended, with a sentence for people."""
    if stopped:
        return ExitCause.STOPPED, "stopped as asked"
    if code is None:
        return ExitCause.EXITED, "ended; its exit code is unknown, as what had started it was gone"
    if code == -signal.SIGKILL and out_of_memory:
        return ExitCause.OUT_OF_MEMORY, "killed by the kernel for want of memory"
    if code == -signal.SIGKILL:
        return ExitCause.EXITED, "killed by signal 9 (from outside, or by the kernel for want of memory)"
    if code < 0:
        return ExitCause.EXITED, f"killed by signal {-code} ({signal.strsignal(-code) or 'unknown'})"
    return ExitCause.EXITED, f"exited with code {code}" if code else "ended by itself, with code 0"
