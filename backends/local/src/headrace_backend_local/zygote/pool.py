"""Processes kept in standby. One that was given away never comes back; another takes its place, in a quiet moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from headrace_backend_local.zygote.forks import Standby
from headrace_backend_local.zygote.loop import Loop, Timer

log = logging.getLogger("headrace.nursery")

_QUIET_SECONDS = 0.25
_AFTER_DEATH_SECONDS = 5.0


class Pool:
    """Keeps so many processes in standby."""

    def __init__(self, loop: Loop, fork: Callable[[], Standby], is_quiet: Callable[[], bool]) -> None:
        self._loop = loop
        self._fork = fork
        self._is_quiet = is_quiet
        self._size = 0
        self._standbys: list[Standby] = []
        self._refill_timer: Timer | None = None
        self._not_before = 0.0

    def resize(self, size: int) -> None:
        """Keeps `size` processes from now on."""
        self._size = size
        while len(self._standbys) > size:
            self._standbys.pop().dismiss()
        self._refill_later(0.0)

    def take(self) -> Standby | None:
        """Gives a process away."""
        ready = next((s for s in self._standbys if s.ready), None)
        if ready:
            self._standbys.remove(ready)
        self._refill_later()
        return ready

    def _refill_later(self, delay: float = _QUIET_SECONDS) -> None:
        if self._refill_timer is None and len(self._standbys) < self._size:
            self._refill_timer = self._loop.call_later(delay, self._refill)

    def _refill(self) -> None:
        self._refill_timer = None
        if len(self._standbys) >= self._size:
            return
        # One at a time, and only while nobody waits for a start.
        if self._is_quiet() and time.monotonic() >= self._not_before and all(s.ready for s in self._standbys):
            standby = self._fork()
            self._standbys.append(standby)
            self._loop.watch(standby.child.descriptor, lambda: self._on_end(standby))
        self._refill_later()

    def _on_end(self, standby: Standby) -> None:
        self._loop.release(standby.child.descriptor)
        code = standby.child.reap()
        if standby in self._standbys:
            log.warning("a process in standby has died with code %s", code)
            self._standbys.remove(standby)
            standby.dismiss()
            self._not_before = time.monotonic() + _AFTER_DEATH_SECONDS
            self._refill_later()
