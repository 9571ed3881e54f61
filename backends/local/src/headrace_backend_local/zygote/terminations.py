"""Terminates processes: SIGTERM first, SIGKILL half a second later, and done only when nothing of them is left."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headrace_backend_local import process_tags
from headrace_backend_local.process_tags import ProcessTag
from headrace_backend_local.zygote.child import Child
from headrace_backend_local.zygote.loop import Loop
from headrace_chassis import procfs
from headrace_controller.backends.process import ProcessKey

GRACE_SECONDS = 0.5
GIVE_UP_SECONDS = 5.0  # a killed process needs a processor to end, and has a low priority
_POLL_SECONDS = 0.02


@dataclass(slots=True)
class _Termination:
    """A process that is being terminated.

    Attributes
    ----------
    kill_at
        Time from which what is left of it is killed.
    waiting
        Called once with the pids that are left: none, or those that even SIGKILL does not end.
    """

    key: ProcessKey
    child: Child
    kill_at: float
    waiting: list[Callable[[list[int]], None]] = field(default_factory=list[Callable[[list[int]], None]])

    @property
    def give_up_at(self) -> float:
        return self.kill_at + GIVE_UP_SECONDS - GRACE_SECONDS


class Terminations:
    """Follows all processes that are being terminated, with one scan of the machine for all of them."""

    def __init__(self, loop: Loop, site: str) -> None:
        self._loop = loop
        self._site = site
        self._terminations: dict[Child, _Termination] = {}

    @property
    def quiet(self) -> bool:
        """Whether nothing is being terminated."""
        return not self._terminations

    def stop(self, key: ProcessKey, child: Child) -> None:
        """Terminates a process; it may run on for the grace time."""
        if child not in self._terminations:
            child.signal(signal.SIGTERM)
            self._add(_Termination(key, child, time.monotonic() + GRACE_SECONDS))

    def sweep(self, key: ProcessKey, child: Child) -> None:
        """Kills what is left of a process that has exited by itself."""
        if child not in self._terminations:
            self._add(_Termination(key, child, time.monotonic()))

    def after(self, key: ProcessKey, then: Callable[[list[int]], None]) -> None:
        """Calls `then` with what is left when nothing is terminated under this name: at once, or a moment later."""
        current = next((t for t in self._terminations.values() if t.key == key), None)
        if current is None:
            then([])
        else:
            current.waiting.append(then)

    def _add(self, termination: _Termination) -> None:
        if not self._terminations:
            self._loop.call_later(_POLL_SECONDS, self._poll)
        self._terminations[termination.child] = termination

    def _poll(self) -> None:
        scan = _Scan(self._site)
        now = time.monotonic()
        for termination in list(self._terminations.values()):
            left = scan.left(termination)
            if left and now >= termination.kill_at:
                _kill(termination, left)
            if not left or now >= termination.give_up_at:
                del self._terminations[termination.child]
                for then in termination.waiting:
                    then(left)
        if self._terminations:
            self._loop.call_later(_POLL_SECONDS, self._poll)


class _Scan:
    """One scan of the machine, no further than is needed."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._processes: list[procfs.Process] | None = None
        self._tagged: Mapping[ProcessKey, list[int]] | None = None
        self._marked: Mapping[int, list[int]] | None = None

    def left(self, termination: _Termination) -> list[int]:
        """Returns the pids of what is left of a process."""
        child = termination.child
        if not child.exited:
            return [child.pid]
        if not child.group_is_empty and (members := child.members(self.processes)):
            return members
        # A process that has left the group still carries the tag that it was started with, or at least the mark.
        # Another account's process may carry them too, so that this one seems to live on.
        mark = process_tags.mark(self._site, termination.key)
        found = {*self.tagged.get(termination.key, ()), *self.marked.get(mark, ())}
        return sorted(pid for pid in found if procfs.user(pid) == child.user)

    @property
    def processes(self) -> list[procfs.Process]:
        if self._processes is None:
            self._processes = list(procfs.processes())
        return self._processes

    @property
    def tagged(self) -> Mapping[ProcessKey, list[int]]:
        if self._tagged is None:
            found: dict[ProcessKey, list[int]] = {}
            for process in self.processes:
                tag = ProcessTag.of(process.pid)
                if tag and tag.site == self._site:
                    found.setdefault(tag.key, []).append(process.pid)
            self._tagged = found
        return self._tagged

    @property
    def marked(self) -> Mapping[int, list[int]]:
        if self._marked is None:
            found: dict[int, list[int]] = {}
            for process in self.processes:
                found.setdefault(process_tags.mark_of(process.pid), []).append(process.pid)
            self._marked = found
        return self._marked


def _kill(termination: _Termination, left: list[int]) -> None:
    termination.child.signal(signal.SIGKILL)
    for pid in left:
        if pid != termination.child.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
