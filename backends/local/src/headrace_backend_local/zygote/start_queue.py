"""Starts few processes at a time, in the order of the requests, so that many starts do not starve everything else.

A start is in progress while the process is busy, in its first seconds: it need not report that it is ready.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from headrace_backend_local.zygote.child import Child
from headrace_backend_local.zygote.loop import Loop
from headrace_chassis import procfs

_POLL_SECONDS = 0.01
_BUSY_SHARE = 0.1
_SETTLED_SECONDS = 0.05
_MAX_SECONDS = 2.0

Launch = Callable[[], Child | None]


class StartQueue:
    """A queue of launches; at most `width` started processes are busy at the same time."""

    def __init__(self, loop: Loop, width: int) -> None:
        self._loop = loop
        self._width = width
        self._waiting: OrderedDict[Hashable, Launch] = OrderedDict()
        self._starting: list[_Starting] = []
        self._polling = False

    @property
    def quiet(self) -> bool:
        """Whether nothing is starting or waiting to start."""
        return not self._waiting and not self._starting

    def put(self, key: Hashable, launch: Launch) -> None:
        """Calls `launch` when it is its turn; it returns the process, or None if it could not be started."""
        self._waiting[key] = launch
        if not self._polling:
            self._polling = True
            self._loop.call_later(0.0, self._poll)

    def remove(self, key: Hashable) -> None:
        """Removes a launch that was not called yet."""
        self._waiting.pop(key, None)

    def _poll(self) -> None:
        now = time.monotonic()
        self._starting = [starting for starting in self._starting if starting.poll(now)]
        while self._waiting and sum(s.busy for s in self._starting) < self._width:
            _, launch = self._waiting.popitem(last=False)
            if child := launch():
                self._starting.append(_Starting(child))
        self._polling = not self.quiet
        if self._polling:
            self._loop.call_later(_POLL_SECONDS, self._poll)


class _Starting:
    """A process in its first seconds."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._until = time.monotonic() + _MAX_SECONDS
        self._polled = time.monotonic()
        self._busy_last = self._polled
        self._used = procfs.cpu_seconds(child.pid)
        self.busy = True

    def poll(self, now: float) -> bool:
        """Checks whether it is busy; returns whether to go on checking."""
        if self._child.exited or now > self._until:
            return False
        if now - self._polled >= _POLL_SECONDS / 2:
            used = procfs.cpu_seconds(self._child.pid)
            # A process that is ready to run but has no processor is busy, too.
            self.busy = used - self._used > _BUSY_SHARE * (now - self._polled) or self._is_ready_to_run()
            self._used, self._polled = used, now
        if self.busy:
            self._busy_last = now
        return now - self._busy_last < _SETTLED_SECONDS

    def _is_ready_to_run(self) -> bool:
        seen = procfs.process(self._child.pid)
        return seen is not None and seen.state == "R"
