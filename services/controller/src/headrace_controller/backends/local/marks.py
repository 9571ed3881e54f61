"""The mark that every process of the backend carries, so that it can be found by looking at the machine alone.

A forked process carries it in its title, `dask scheduler headrace=<site>/<cluster>/<generation>/<process>`; a spawned
one, and whatever either starts, in the environment.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from headrace_controller.backends.base import SCHEDULER, ProcessKey, Role

VARIABLE = "HEADRACE_MARK"

_MARK = re.compile(r"headrace=([^/\s]+)/([^/\s]+)/(\d+)/([^/\s]+)\Z")
_TITLE = re.compile(r"dask (?:scheduler|worker) (\S+)\Z")
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
        """The title of a forked process."""
        return f"dask {self.role} {self}"

    @classmethod
    def parse(cls, text: str) -> Mark | None:
        """Reads a mark back."""
        if (found := _MARK.match(text)) is None:
            return None
        return cls(found[1], ProcessKey(found[2], found[4]), int(found[3]))

    @classmethod
    def from_title(cls, title: str) -> Mark | None:
        """Reads a mark from the title of a process."""
        return cls.parse(found[1]) if (found := _TITLE.match(title)) else None
