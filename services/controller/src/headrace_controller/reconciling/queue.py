"""A queue of names: each is worked on by one task at a time, and duplicates merge."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=str)


class WorkQueue(Generic[Name]):
    """Names to work on, now or later. A name added while it is being worked on comes again once that is done.

    Parameters
    ----------
    accepts
        Whether a name is queued; others are ignored. Default: all are.
    """

    def __init__(self, accepts: Callable[[Name], bool] = lambda _: True) -> None:
        self._accepts = accepts
        self._ready: deque[Name] = deque()
        self._queued: set[Name] = set()
        self._working: set[Name] = set()
        self._again: set[Name] = set()
        self._timers: dict[Name, asyncio.TimerHandle] = {}
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, name: Name) -> None:
        """Queues a name at once."""
        if not self._accepts(name):
            return
        self._drop_timer(name)
        if name in self._working:
            self._again.add(name)
        elif name not in self._queued:
            self._queued.add(name)
            self._ready.append(name)
            self._filled.set()

    def add_after(self, name: Name, delay: float) -> None:
        """Queues a name later; of several delays, the earliest counts."""
        if name in self._queued or name in self._again:
            return
        loop = asyncio.get_running_loop()
        if (timer := self._timers.get(name)) and timer.when() <= loop.time() + delay:
            return
        self._drop_timer(name)
        self._timers[name] = loop.call_later(delay, self._due, name)

    async def take(self) -> Name:
        """Waits for the next name; :meth:`done` must follow."""
        while not self._ready:
            self._filled.clear()
            await self._filled.wait()
        name = self._ready.popleft()
        self._queued.discard(name)
        self._working.add(name)
        return name

    def done(self, name: Name) -> None:
        """Notes that the work on a name is finished."""
        self._working.discard(name)
        if name in self._again:
            self._again.discard(name)
            self.add(name)

    def discard(self, name: Name) -> None:
        """Drops what was to come later."""
        self._drop_timer(name)
        self._again.discard(name)

    def _due(self, name: Name) -> None:
        self._timers.pop(name, None)
        self.add(name)

    def _drop_timer(self, name: Name) -> None:
        if timer := self._timers.pop(name, None):
            timer.cancel()
