"""The zygote's event loop: descriptors and timers in one thread, and nothing that would break in a forked process."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import selectors
import socket
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

log = logging.getLogger("headrace.zygote")

Callback = Callable[[], None]


@dataclass(order=True, slots=True)
class Timer:
    """A callback to call later."""

    when: float
    number: int
    callback: Callback = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        """Keeps it from being called."""
        self.cancelled = True


class Loop:
    """Calls back when a descriptor is ready or a time has come. Every descriptor that the zygote keeps is in here."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._numbers = itertools.count()
        self._running = True
        self._kept: set[int] = set()
        os.register_at_fork(after_in_child=self._abandon)

    def watch(self, file: int | socket.socket, on_readable: Callback, on_writable: Callback | None = None) -> None:
        """Calls back when `file` is readable, and with `on_writable` writable; replaces earlier callbacks of `file`."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if on_writable else 0)
        callbacks = (on_readable, on_writable)
        try:
            self._selector.modify(file, events, callbacks)
        except KeyError:
            self._selector.register(file, events, callbacks)

    def release(self, file: int | socket.socket) -> None:
        """Watches `file` no longer and closes it."""
        self._selector.unregister(file)
        _close(file)

    def keep(self, descriptor: int) -> None:
        """Keeps a descriptor open, without watching it."""
        self._kept.add(descriptor)

    def discard(self, descriptor: int) -> None:
        """Closes a descriptor that it keeps."""
        self._kept.remove(descriptor)
        os.close(descriptor)

    @contextlib.contextmanager
    def lending(self, descriptors: Sequence[int]) -> Generator[None]:
        """A process that is forked within has these open too, of all that it keeps."""
        self._kept -= {*descriptors}
        try:
            yield
        finally:
            self._kept |= {*descriptors}

    def call_later(self, delay: float, callback: Callback) -> Timer:
        """Calls back once, after `delay` seconds."""
        timer = Timer(time.monotonic() + delay, next(self._numbers), callback)
        heapq.heappush(self._timers, timer)
        return timer

    def run(self) -> None:
        """Runs until `stop`."""
        while self._running:
            for key, events in self._selector.select(self._until_next_timer()):
                self._dispatch(key, events)
            self._run_due_timers()

    def stop(self) -> None:
        """Ends `run` after the current callback."""
        self._running = False

    def is_mine(self, descriptor: int) -> bool:
        """Whether the zygote itself needs a descriptor."""
        return descriptor in self._kept or descriptor in self._selector.get_map()

    def _abandon(self) -> None:
        """Closes all descriptors in a forked process: they are the zygote's."""
        if self._running:
            self._running = False
            for file in [*self._kept, *(key.fileobj for key in self._selector.get_map().values())]:
                _close(file)
            self._selector.close()

    def _until_next_timer(self) -> float | None:
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0].when - time.monotonic()) if self._timers else None

    def _dispatch(self, key: selectors.SelectorKey, events: int) -> None:
        on_readable, on_writable = key.data
        for event, callback in ((selectors.EVENT_WRITE, on_writable), (selectors.EVENT_READ, on_readable)):
            # A callback before this one may have released it, and its number may already be another's.
            if events & event and self._selector.get_map().get(key.fd) == key:
                _call(callback)

    def _run_due_timers(self) -> None:
        now = time.monotonic()
        while self._running and self._timers and self._timers[0].when <= now:
            timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                _call(timer.callback)


def _call(callback: Callback) -> None:
    try:
        callback()
    except Exception:
        log.exception("a callback failed")


def _close(file: object) -> None:
    if isinstance(file, socket.socket):
        file.close()
    elif isinstance(file, int):
        os.close(file)
