"""The newest entries of a stream in the store, read once for all who follow it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable
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
    topics
        What an entry is about, for followers of one topic; nothing by default.
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
        topics: Callable[[Entry], Iterable[Hashable]] = lambda _: (),
        keep: int = 4096,
    ) -> None:
        self._head, self._read, self._wait, self._position, self._topics = head, read, wait, position, topics
        self._entries: deque[Entry] = deque()
        self._about: dict[Hashable, deque[Entry]] = {}
        self._taken = 0
        self._keep = keep
        self._begin: str | None = None
        self._waiting: dict[Hashable, set[asyncio.Future[bool]]] = {}
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
        entries, _ = await self.about(None, position, within)
        return entries

    async def about(self, topic: Hashable | None, position: str, within: float) -> tuple[list[Entry], str]:
        """As `after`, only what is about a topic (None: everything); with the position from which to go on."""
        clock = asyncio.get_running_loop().time
        until = clock() + within
        while True:
            taken = self._taken
            if self._begin is not None and reaches(position, self._begin):
                entries, position = self._at_hand(topic, position), self._latest(position)
            else:
                read = await self._read(position)
                entries = [entry for entry in read if topic is None or topic in self._topics(entry)]
                position = self._position(read[-1]) if read else position
                if read and not entries:
                    continue
            if entries:
                return entries, position
            # What came while the store was being read has woken nobody here.
            if taken == self._taken and not await self._grown(topic, until - clock()):
                return [], position

    async def _step(self) -> None:
        if self._begin is None:
            self._begin = await self._head()
            self._entries.clear()
            self._about.clear()
            for gap in self._gap_listeners:
                gap()
            self._wake(list(self._waiting))
        if entries := await self._wait(self._latest(self._begin), _BLOCK_MILLISECONDS):
            self._take(entries)

    def _take(self, entries: list[Entry]) -> None:
        self._taken += len(entries)
        woken: set[Hashable] = {None}
        for entry in entries:
            self._entries.append(entry)
            for topic in self._topics(entry):
                self._about.setdefault(topic, deque()).append(entry)
                woken.add(topic)
        while len(self._entries) > self._keep:
            self._drop_oldest()
        for entry in entries:
            for listener in self._listeners:
                listener(entry)
        self._wake(woken)

    def _drop_oldest(self) -> None:
        oldest = self._entries.popleft()
        self._begin = self._position(oldest)
        for topic in self._topics(oldest):
            about = self._about[topic]
            about.popleft()
            if not about:
                del self._about[topic]

    def _at_hand(self, topic: Hashable | None, position: str) -> list[Entry]:
        newer: list[Entry] = []
        for entry in reversed(self._entries if topic is None else self._about.get(topic, ())):
            if reaches(position, self._position(entry)):
                break
            newer.append(entry)
        newer.reverse()
        return newer

    def _latest(self, position: str) -> str:
        """The position of the newest entry at hand, unless this one is later."""
        newest = self._position(self._entries[-1]) if self._entries else position
        return position if reaches(position, newest) else newest

    async def _grown(self, topic: Hashable | None, within: float) -> bool:
        """Waits for an entry about a topic; says whether there may be one."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        waiters = self._waiting.setdefault(topic, set())
        waiters.add(waiter)
        timer = loop.call_later(max(0.0, within), _finish, waiter, False)
        try:
            return await waiter
        finally:
            timer.cancel()
            waiters.discard(waiter)
            if not waiters and self._waiting.get(topic) is waiters:
                del self._waiting[topic]

    def _wake(self, topics: Iterable[Hashable]) -> None:
        for topic in topics:
            for waiter in self._waiting.pop(topic, ()):
                _finish(waiter, True)


def _finish(waiter: asyncio.Future[bool], outcome: bool) -> None:
    if not waiter.done():
        waiter.set_result(outcome)
