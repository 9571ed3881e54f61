"""How processes end: asked first, killed half a second later, and over only when nothing of them is left."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headrace_backend_local.zygote import procfs
from headrace_backend_local.zygote.child import Child
from headrace_backend_local.zygote.loop import Loop
from headrace_controller.backends.base import ProcessKey

GRACE_SECONDS = 0.5
GIVE_UP_SECONDS = 0.9
_LOOK_SECONDS = 0.02


@dataclass(slots=True)
class Ending:
    """A process that is being ended.

    Attributes
    ----------
    kill_at
        From when on whatever is left of it is killed.
    waiting
        Called once with the pids that are left: none, or those that even a kill does not end.
    """

    key: ProcessKey
    child: Child
    kill_at: float
    waiting: list[Callable[[list[int]], None]] = field(default_factory=list[Callable[[list[int]], None]])

    @property
    def give_up_at(self) -> float:
        return self.kill_at + GIVE_UP_SECONDS - GRACE_SECONDS


class Endings:
    """Looks after processes that are being ended, all in one look at the machine."""

    def __init__(self, loop: Loop, site: str) -> None:
        self._loop = loop
        self._site = site
        self._endings: dict[Child, Ending] = {}

    @property
    def quiet(self) -> bool:
        """Whether nothing is being ended."""
        return not self._endings

    def stop(self, key: ProcessKey, child: Child, then: Callable[[list[int]], None]) -> None:
        """Ends a process that may run on for a moment, as it was asked to."""
        if child not in self._endings:
            child.signal(signal.SIGTERM)
            self._add(Ending(key, child, time.monotonic() + GRACE_SECONDS))
        self._endings[child].waiting.append(then)

    def sweep(self, key: ProcessKey, child: Child) -> None:
        """Kills what is left of a process that has ended by itself."""
        if child not in self._endings:
            self._add(Ending(key, child, time.monotonic()))

    def after(self, key: ProcessKey, then: Callable[[], None]) -> None:
        """Calls when nothing is being ended under this name: at once, or a moment later."""
        ending = next((e for e in self._endings.values() if e.key == key), None)
        if ending is None:
            then()
        else:
            ending.waiting.append(lambda _left: then())

    def _add(self, ending: Ending) -> None:
        if not self._endings:
            self._loop.call_later(_LOOK_SECONDS, self._look)
        self._endings[ending.child] = ending

    def _look(self) -> None:
        look = _Look(self._site)
        now = time.monotonic()
        for ending in list(self._endings.values()):
            left = look.left(ending)
            if left and now >= ending.kill_at:
                _kill(ending, left)
            if not left or now >= ending.give_up_at:
                del self._endings[ending.child]
                for then in ending.waiting:
                    then(left)
        if self._endings:
            self._loop.call_later(_LOOK_SECONDS, self._look)


class _Look:
    """One look at the machine, no further than is needed."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._processes: list[procfs.Process] | None = None
        self._marked: Mapping[ProcessKey, list[int]] | None = None

    def left(self, ending: Ending) -> list[int]:
        """Returns the pids of what is left of a process."""
        if not ending.child.ended:
            return [ending.child.pid]
        if not ending.child.group_is_empty and (members := ending.child.members(self.processes)):
            return members
        # What has left the group still carries the mark that it was born with.
        return self.marked.get(ending.key, [])

    @property
    def processes(self) -> list[procfs.Process]:
        if self._processes is None:
            self._processes = list(procfs.processes())
        return self._processes

    @property
    def marked(self) -> Mapping[ProcessKey, list[int]]:
        if self._marked is None:
            found: dict[ProcessKey, list[int]] = {}
            for process in self.processes:
                mark = procfs.mark(process.pid)
                if mark and mark.site == self._site:
                    found.setdefault(mark.key, []).append(process.pid)
            self._marked = found
        return self._marked


def _kill(ending: Ending, left: list[int]) -> None:
    ending.child.signal(signal.SIGKILL)
    for pid in left:
        if pid != ending.child.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
