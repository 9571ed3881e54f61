"""Whether the kernel has killed for want of memory: it counts, but does not tell whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path


class OutOfMemory:
    """Watches the kernel's count, in the first of `files` that has it; by default where it is for this process."""

    def __init__(self, files: Sequence[Path] | None = None) -> None:
        self._files = list(_files()) if files is None else files
        self._seen = self._latest = self._count()

    def refresh(self) -> None:
        """Takes note of the count now and then, so that a kill long ago is not blamed for a death today."""
        # One look behind: what has just been killed may not have been noticed yet.
        self._seen, self._latest = self._latest, self._count()

    def struck(self) -> bool:
        """Whether it has killed in the last moments, and not been asked since."""
        before, self._seen = self._seen, self._count()
        self._latest = self._seen
        return self._seen > before

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
