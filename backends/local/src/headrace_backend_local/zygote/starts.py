"""Lets few processes start at a time, in the order that they were asked for, so that a crowd does not starve everyone.

A start is in progress while the process is busy, in its first seconds: nobody has to tell when it has finished.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from headrace_backend_local.zygote import procfs
from headrace_backend_local.zygote.child import Child
from headrace_backend_local.zygote.loop import Loop

_LOOK_SECONDS = 0.01
_BUSY_SHARE = 0.1
_SETTLED_SECONDS = 0.05
_LONGEST_SECONDS = 2.0

Begin = Callable[[], Child | None]


class Starts:
    """A queue of starts."""

    def __init__(self, loop: Loop, width: int) -> None:
        self._loop = loop
        self._width = width
        self._waiting: OrderedDict[Hashable, Begin] = OrderedDict()
        self._starting: list[_Starting] = []
        self._looking = False

    @property
    def quiet(self) -> bool:
        """Whether nothing is starting or waiting to start."""
        return not self._waiting and not self._starting

    def put(self, key: Hashable, begin: Begin) -> None:
        """Calls `begin` when it is its turn; it returns the process, if one has come of it."""
        self._waiting[key] = begin
        self._wake()

    def drop(self, key: Hashable) -> None:
        """Takes a start back that has not begun."""
        self._waiting.pop(key, None)

    def _wake(self) -> None:
        if not self._looking:
            self._looking = True
            self._loop.call_later(0.0, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        self._starting = [starting for starting in self._starting if starting.look(now)]
        while self._waiting and sum(s.busy for s in self._starting) < self._width:
            _, begin = self._waiting.popitem(last=False)
            if child := begin():
                self._starting.append(_Starting(child))
        self._looking = not self.quiet
        if self._looking:
            self._loop.call_later(_LOOK_SECONDS, self._look)


class _Starting:
    """A process in its first seconds."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._until = time.monotonic() + _LONGEST_SECONDS
        self._looked = time.monotonic()
        self._busy_last = self._looked
        self._used = procfs.cpu_seconds(child.pid)
        self.busy = True

    def look(self, now: float) -> bool:
        """Looks whether it is busy; returns whether it is still to be watched."""
        if self._child.ended or now > self._until:
            return False
        if now - self._looked >= _LOOK_SECONDS / 2:
            used = procfs.cpu_seconds(self._child.pid)
            # Ready to run but given no processor is busy, too.
            self.busy = used - self._used > _BUSY_SHARE * (now - self._looked) or self._runs()
            self._used, self._looked = used, now
        if self.busy:
            self._busy_last = now
        return now - self._busy_last < _SETTLED_SECONDS

    def _runs(self) -> bool:
        seen = procfs.process(self._child.pid)
        return seen is not None and seen.state == "R"
