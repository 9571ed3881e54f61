"""Why a process exited, as far as is known."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from headrace.v1.enums import ExitCause


def explain(code: int | None, *, stopped: bool, out_of_memory: bool) -> tuple[ExitCause, str]:
    """Returns the cause of an exit, and for people what cause and code leave out."""
    if stopped:
        return ExitCause.STOPPED, ""
    if code is None:
        return ExitCause.EXITED, "its exit code is unknown, because the zygote that had started it was gone"
    if code == -signal.SIGKILL:
        if out_of_memory:
            return ExitCause.OUT_OF_MEMORY, ""
        return ExitCause.EXITED, "perhaps by the kernel, because memory ran out"
    return ExitCause.EXITED, ""


class OutOfMemory:
    """Whether the kernel has killed because memory ran out: it counts such kills, but does not report which processes.

    Parameters
    ----------
    files
        Files with the kernel's count; the first that has it is read. None means those of this process.
    """

    def __init__(self, files: Sequence[Path] | None = None) -> None:
        self._files = list(_files()) if files is None else files
        self._seen = self._latest = self._count()

    def refresh(self) -> None:
        """Reads the count now and then, so that a kill long ago is not blamed for an exit today."""
        # One reading behind: a process that was just killed may not have been noticed yet.
        self._seen, self._latest = max(self._seen, self._latest), self._count()

    def has_killed(self) -> bool:
        """Whether it has killed in the last moments; each kill is the answer to one call."""
        if self._count() <= self._seen:
            return False
        self._seen += 1
        return True

    def _count(self) -> int:
        for path in self._files:
            try:
                lines = path.read_text().splitlines()
            except OSError:
                continue
            counts = (line.split()[1] for line in lines if line.startswith("oom_kill "))
            if (count := next(counts, None)) is not None:
                return int(count)
        return 0


def _files() -> Iterator[Path]:
    """Yields where the kernel counts: for this control group, else for the whole machine."""
    root = Path("/sys/fs/cgroup")
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        groups = []
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if not controllers:
            yield root / path.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            yield root / "memory" / path.lstrip("/") / "memory.oom_control"
    yield Path("/proc/vmstat")
