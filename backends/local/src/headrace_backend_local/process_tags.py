"""The tag that every process of the backend carries, so that it can be found by looking at the machine alone.

The tag stands in the environment that /proc shows, where neither the process itself nor its children are likely to
change it. A forked process has the zygote's there, so the zygote is started with room for a tag, which the fork fills.

A child that is given another environment, and makes itself a session, has nothing of that left. It still has the mark:
a number made from the tag, which is kept as a resource limit that Linux does not enforce, RLIMIT_RSS. Such limits are
inherited, whatever else a process replaces; and the mark is larger than any memory, for those who read it as a limit.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import re
import resource
from dataclasses import dataclass
from pathlib import Path

from headrace_chassis import procfs
from headrace_controller.backends.process import SCHEDULER, ProcessKey, Role

VARIABLE = "HEADRACE_PROCESS_TAG"

_TAG = re.compile(r"headrace=([^/\s]+)/([^/\s]+)/(\d+)/([^/\s]+)\Z")
_ROOM = 384
_MARKED = 1 << 61
_SITE_BITS, _KEY_BITS = 24, 37


def site(deployment: str, directory: Path) -> str:
    """Names a deployment with its local directory: two of them on one machine never touch each other's processes."""
    digest = hashlib.sha256(f"{deployment}\0{directory.resolve()}".encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', deployment)[:32]}@{digest[:12]}"


@dataclass(frozen=True, slots=True)
class ProcessTag:
    """Which process of which cluster and site this is."""

    site: str
    key: ProcessKey
    generation: int

    def __str__(self) -> str:
        return f"headrace={self.site}/{self.key.cluster}/{self.generation}/{self.key.process}"

    @property
    def role(self) -> Role:
        return Role.SCHEDULER if self.key.process == SCHEDULER else Role.WORKER

    @property
    def title(self) -> str:
        """Title of a forked process, until it sets another one."""
        return f"dask {self.role} {self}"

    @classmethod
    def parse(cls, text: str) -> ProcessTag | None:
        """Reads what `str` gives."""
        if (found := _TAG.match(text.rstrip())) is None:
            return None
        return cls(found[1], ProcessKey(found[2], found[4]), int(found[3]))

    @classmethod
    def of(cls, pid: int) -> ProcessTag | None:
        """Returns the tag that a process carries."""
        value = procfs.environ(pid).get(VARIABLE.encode())
        return cls.parse(value.decode(errors="replace")) if value else None


def mark(site: str, key: ProcessKey) -> int:
    """Returns the mark of a process."""
    return _marks_of_site(site) | _hash(f"{key.cluster}/{key.process}", _KEY_BITS)


def mark_of(pid: int) -> int:
    """Returns the mark that a process has, or another number."""
    try:
        return resource.prlimit(pid, resource.RLIMIT_RSS)[0]
    except PermissionError:  # another account's, and this process lacks CAP_SYS_RESOURCE
        return procfs.soft_limit(pid, b"Max resident set")
    except OSError:
        return 0


def is_mark(number: int, site: str) -> bool:
    """Whether a number is a mark of the site."""
    return number >> _KEY_BITS << _KEY_BITS == _marks_of_site(site)


def mark_this_process(tag: str) -> None:
    """Gives this process, and all that it will start, the mark of a tag."""
    parsed = ProcessTag.parse(tag)
    assert parsed
    with contextlib.suppress(ValueError):  # the administrator has set a limit of this kind
        _, most = resource.getrlimit(resource.RLIMIT_RSS)
        resource.setrlimit(resource.RLIMIT_RSS, (mark(parsed.site, parsed.key), most))


def room_for_tag(site: str) -> dict[str, str]:
    """Returns what the zygote's environment needs for the processes that are forked from it to be tagged."""
    return {VARIABLE: f"headrace={site}".ljust(_ROOM)}


def tag_this_process(tag: str) -> None:
    """Writes a tag into the room that this process was started with."""
    text = tag.encode()
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])  # env_start and env_end of proc(5)
    found = ctypes.string_at(start, end - start).find(f"{VARIABLE}=headrace=".encode())
    if found < 0 or len(text) > _ROOM:
        raise ValueError(f"there is no room for the tag {tag}")
    ctypes.memmove(start + found + len(VARIABLE) + 1, text.ljust(_ROOM), _ROOM)


def _marks_of_site(site: str) -> int:
    return _MARKED | _hash(site, _SITE_BITS) << _KEY_BITS


def _hash(text: str, bits: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 64 - bits
