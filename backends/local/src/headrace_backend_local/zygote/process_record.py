"""What the zygote knows of one process."""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec

from headrace.v1.enums import ExitCause
from headrace_backend_local.process_tags import ProcessTag
from headrace_backend_local.protocol import LaunchSpec, Report
from headrace_backend_local.zygote.child import Child
from headrace_controller.backends.process import ProcessKey, ProcessState


@dataclass(slots=True, eq=False)
class ProcessRecord:
    """A process: its last report, and what is needed to start and to watch it.

    Attributes
    ----------
    secrets
        Descriptor of the file with its secrets, until it is started.
    log
        Descriptor of its log while it runs.
    """

    report: Report
    secrets: int | None = None
    log: int | None = None
    child: Child | None = None
    stopping: bool = False

    @classmethod
    def of(cls, spec: LaunchSpec, secrets: int) -> ProcessRecord:
        """Returns the record of a process that is going to be started."""
        report = Report(
            cluster=spec.cluster,
            process=spec.process,
            role=spec.role,
            generation=spec.generation,
            state=ProcessState.PENDING,
        )
        return cls(report, secrets)

    @classmethod
    def adopted(cls, tag: ProcessTag, child: Child, log: int | None) -> ProcessRecord:
        """Returns the record of a process that was found running."""
        report = Report(
            cluster=tag.key.cluster,
            process=tag.key.process,
            role=tag.role,
            generation=tag.generation,
            state=ProcessState.RUNNING,
            started=child.started,
            pid=child.pid,
        )
        return cls(report, None, log, child)

    @property
    def key(self) -> ProcessKey:
        return ProcessKey(self.report.cluster, self.report.process)

    @property
    def live(self) -> bool:
        """Whether it runs or is about to."""
        return self.report.state is not ProcessState.EXITED

    def set_running(self, child: Child) -> None:
        """Records that it runs."""
        self.child = child
        self.report = msgspec.structs.replace(
            self.report,
            state=ProcessState.RUNNING,
            started=time.time(),  # not the child's own: one from standby is older
            pid=child.pid,
        )

    def set_exited(self, code: int | None, cause: ExitCause, message: str) -> None:
        """Records that it has exited."""
        self.report = msgspec.structs.replace(
            self.report, state=ProcessState.EXITED, exit_code=code, exit_cause=cause, message=message
        )
