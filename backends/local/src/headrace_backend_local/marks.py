"""The mark that every process of the backend carries, so that it can be found by looking at the machine alone.

It stands in the environment that /proc shows, where neither the process itself nor what it starts is likely to change
it. A forked process has the nursery's there, so the nursery is started with room for a mark, and the fork writes it in.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from headrace_controller.backends.base import SCHEDULER, ProcessKey, Role

VARIABLE = "HEADRACE_MARK"

_MARK = re.compile(r"headrace=([^/\s]+)/([^/\s]+)/(\d+)/([^/\s]+)\Z")
_ROOM = 384
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


def is_name(text: str) -> bool:
    """Whether it can name a cluster or process: it becomes part of paths and titles."""
    return _NAME.match(text) is not None


def site(deployment: str, directory: Path) -> str:
    """Names a deployment with its local directory: two of them on one machine never touch each other's processes."""
    digest = hashlib.sha256(f"{deployment}\0{directory.resolve()}".encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', deployment)[:32]}@{digest[:12]}"


@dataclass(frozen=True, slots=True)
class Mark:
    """Whose a process is."""

    site: str
    key: ProcessKey
    generation: int

    def __str__(self) -> str:
        return f"headrace={self.site}/{self.key.cluster}/{self.generation}/{self.key.process}"

    @property
    def role(self) -> Role:
        """What the process is; its name tells."""
        return Role.SCHEDULER if self.key.process == SCHEDULER else Role.WORKER

    @property
    def title(self) -> str:
        """What a forked process is called, until it calls itself something else."""
        return f"dask {self.role} {self}"

    @classmethod
    def parse(cls, text: str) -> Mark | None:
        """Reads a mark back."""
        if (found := _MARK.match(text.rstrip())) is None:
            return None
        return cls(found[1], ProcessKey(found[2], found[4]), int(found[3]))


def room_for_mark(site: str) -> dict[str, str]:
    """Returns what the nursery's environment must have for the processes that are forked from it to be marked."""
    return {VARIABLE: f"headrace={site}".ljust(_ROOM)}


def mark_this_process(mark: str) -> None:
    """Writes a mark over the room that this process was started with."""
    text = mark.encode()
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])  # env_start and env_end of proc(5)
    found = ctypes.string_at(start, end - start).find(f"{VARIABLE}=headrace=".encode())
    if found < 0 or len(text) > _ROOM:
        raise ValueError(f"there is no room for the mark {mark}")
    ctypes.memmove(start + found + len(VARIABLE) + 1, text.ljust(_ROOM), _ROOM)
