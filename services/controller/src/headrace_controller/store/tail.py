"""The newest entries of a stream in the store, read once for all who follow it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from headrace.errors import ResumeTokenTooOld, StoreUnavailable
from headrace_chassis import logs
from headrace_chassis.backoff import delays

from headrace_controller.store import reaches

Entry = TypeVar("Entry")
log = logs.get_logger()

# A blocking read must end before the connection's own time-out.
_BLOCK_MILLISECONDS = 1000


class Tail(Generic[Entry]):
    """Follows a stream from now on. Followers keep only a position, so that a slow one costs nothing but a longer read.

    Parameters
    ----------
    head
        Asks for the position of now.
    read
        Reads what comes after a position, for followers.
    wait
        As `read` but waits, on a connection of its own.
    position
        The position of an entry.
    keep
        How many entries are at hand without asking the store.
    """

    def __init__(
        self,
        *,
        head: Callable[[], Awaitable[str]],
        read: Callable[[str], Awaitable[list[Entry]]],
        wait: Callable[[str, int], Awaitable[list[Entry]]],
        position: Callable[[Entry], str],
        keep: int = 4096,
    ) -> None:
        self._head, self._read, self._wait, self._position = head, read, wait, position
        self._entries: deque[Entry] = deque()
        self._keep = keep
        self._begin: str | None = None
        self._grown = asyncio.Event()
        self._listeners: list[Callable[[Entry], None]] = []
        self._gap_listeners: list[Callable[[], None]] = []

    def on_entry(self, listener: Callable[[Entry], None]) -> None:
        """Calls the listener with each entry."""
        self._listeners.append(listener)

    def on_gap(self, listener: Callable[[], None]) -> None:
        """Calls the listener when entries may have been missed."""
        self._gap_listeners.append(listener)

    async def run(self) -> None:
        """Follows the stream for ever, through absences of the store."""
        pauses = delays(0.02, 1.0)
        while True:
            try:
                await self._step()
                pauses = delays(0.02, 1.0)
            except ResumeTokenTooOld:
                log.warning("missed entries of a stream, starting anew")
                self._begin = None
            except StoreUnavailable as error:
                log.warning("cannot follow a stream", error=str(error))
                await asyncio.sleep(next(pauses))

    async def after(self, position: str, within: float) -> list[Entry]:
        """Returns what comes after a position, as soon as there is something; nothing if there is nothing in time."""
        if self._begin is None or not reaches(position, self._begin):
            if entries := await self._read(position):
                return entries
        elif entries := self._at_hand(position):
            return entries
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._grown.wait()
            return await self.after(position, within)
        return []

    async def _step(self) -> None:
        if self._begin is None:
            self._begin = await self._head()
            self._entries.clear()
            for gap in self._gap_listeners:
                gap()
        at = self._position(self._entries[-1]) if self._entries else self._begin
        if entries := await self._wait(at, _BLOCK_MILLISECONDS):
            self._take(entries)

    def _take(self, entries: list[Entry]) -> None:
        self._entries.extend(entries)
        while len(self._entries) > self._keep:
            self._begin = self._position(self._entries.popleft())
        for entry in entries:
            for listener in self._listeners:
                listener(entry)
        self._wake()

    def _at_hand(self, position: str) -> list[Entry]:
        newer: list[Entry] = []
        for entry in reversed(self._entries):
            if reaches(position, self._position(entry)):
                break
            newer.append(entry)
        newer.reverse()
        return newer

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()
