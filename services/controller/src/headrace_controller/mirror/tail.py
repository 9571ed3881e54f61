"""The newest entries of a stream in the store, read once for all followers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from headrace.backoff import delays
from headrace.errors import ResumeTokenTooOld, StoreUnavailable
from headrace_chassis import logs
from headrace_controller.store.streams import E
from headrace_controller.store.values import reaches

log = logs.get_logger()
T_co = TypeVar("T_co", covariant=True)

# A blocking read must end before the connection's own time-out.
_BLOCK_MILLISECONDS = 1000


class Source(Protocol[T_co]):
    """A stream, as `headrace_controller.store.streams.Stream` reads it."""

    async def head(self) -> str: ...
    async def read(self, after: str) -> tuple[Sequence[T_co], str]: ...
    async def wait(self, after: str, milliseconds: int) -> tuple[Sequence[T_co], str]: ...


async def _nothing(_: object = None) -> None:
    return


class Tail(Generic[E]):
    """Follows a stream. Followers keep only a position, so that a slow one costs nothing but a longer read.

    Parameters
    ----------
    topics
        What an entry is about, for followers of one topic; nothing by default.
    restart
        Awaited before the first entry, and after a gap before the next one: entries may have been missed.
    prepare
        Awaited with entries before anybody gets them.
    keep
        Number of entries that are kept in memory.
    """

    def __init__(
        self,
        source: Source[E],
        *,
        topics: Callable[[E], Iterable[Hashable]] = lambda _: (),
        restart: Callable[[], Awaitable[None]] = _nothing,
        prepare: Callable[[Sequence[E]], Awaitable[None]] = _nothing,
        keep: int = 4096,
    ) -> None:
        self._source, self._topics, self._restart, self._prepare = source, topics, restart, prepare
        self._entries: deque[E] = deque()
        self._about: dict[Hashable, deque[E]] = {}
        self._keep = keep
        self._start: str | None = None  # position from which on all entries are in memory; None: it has to restart
        self._end = ""  # position up to which entries were read
        self._accepted = 0
        self._waiting: dict[Hashable, set[asyncio.Future[bool]]] = {}
        self._listeners: list[Callable[[E], None]] = []

    def on_entry(self, listener: Callable[[E], None]) -> None:
        """Calls the listener with each entry."""
        self._listeners.append(listener)

    def invalidate(self) -> None:
        """Has the tail restart: entries may have been missed."""
        if self._start is not None:
            log.warning("entries of a stream were missed; reading everything again")
        self._start = None

    async def run(self) -> None:
        """Follows the stream until cancelled, through absences of the store."""
        pauses = delays(0.02, 1.0)
        while True:
            try:
                await self._step()
                pauses = delays(0.02, 1.0)
            except ResumeTokenTooOld:
                self.invalidate()
            except StoreUnavailable as error:
                log.warning("cannot follow a stream", error=str(error))
                await asyncio.sleep(next(pauses))
            except Exception:  # logged in full
                log.exception("following a stream failed")
                self.invalidate()  # what has caused it is not read once more
                await asyncio.sleep(next(pauses))

    async def after(self, position: str, within: float) -> Sequence[E]:
        """Returns what comes after a position, as soon as there is something; nothing if there is nothing in time."""
        entries, _ = await self.about(None, position, within)
        return entries

    async def about(self, topic: Hashable | None, position: str, within: float) -> tuple[Sequence[E], str]:
        """As `after`, only what is about a topic (None: everything); with the position to continue from."""
        clock = asyncio.get_running_loop().time
        until = clock() + within
        while True:
            accepted, before = self._accepted, position
            entries, position = await self._available(topic, position)
            if entries:
                return entries, position
            if self._start is not None and position != before and not reaches(before, self._start):
                continue  # there may be more in the store
            # What came while the store was read has woken nobody here.
            if accepted == self._accepted and not await self._grown(topic, until - clock()):
                return [], position

    async def _available(self, topic: Hashable | None, position: str) -> tuple[Sequence[E], str]:
        """Entries after a position that followers may have already."""
        if self._start is None:
            return [], position
        if reaches(position, self._start):
            return self._in_memory(topic, position), position if reaches(position, self._end) else self._end
        read, reached = await self._source.read(position)
        allowed = [entry for entry in read if reaches(self._end, entry.id)]
        entries = [entry for entry in allowed if topic is None or topic in self._topics(entry)]
        return entries, reached if len(allowed) == len(read) else self._end

    def _has_gap(self) -> bool:
        return self._start is None

    async def _step(self) -> None:
        if self._has_gap():
            log.info("reading the full state before following a stream")
            head = await self._source.head()
            await self._restart()
            self._entries.clear()
            self._about.clear()
            self._start = self._end = head
            self._wake(list(self._waiting))
        entries, end = await self._source.wait(self._end, _BLOCK_MILLISECONDS)
        if self._has_gap():  # it was invalidated meanwhile
            return
        if entries:
            await self._prepare(entries)
        self._end = end
        self._accept(entries)

    def _accept(self, entries: Sequence[E]) -> None:
        self._accepted += len(entries)
        woken: set[Hashable] = {None}
        for entry in entries:
            self._entries.append(entry)
            for topic in self._topics(entry):
                self._about.setdefault(topic, deque()).append(entry)
                woken.add(topic)
        while len(self._entries) > self._keep:
            self._drop_oldest()
        for entry in entries:
            self._tell(entry)
        if entries:
            self._wake(woken)

    def _tell(self, entry: E) -> None:
        """One listener's fault must not keep others from hearing, nor end the stream."""
        for listener in self._listeners:
            try:
                listener(entry)
            except Exception:  # logged in full
                log.exception("a listener of a stream failed", entry=entry.id)

    def _drop_oldest(self) -> None:
        oldest = self._entries.popleft()
        if not self._has_gap():
            self._start = oldest.id
        for topic in self._topics(oldest):
            about = self._about[topic]
            about.popleft()
            if not about:
                del self._about[topic]

    def _in_memory(self, topic: Hashable | None, position: str) -> Sequence[E]:
        newer: list[E] = []
        for entry in reversed(self._entries if topic is None else self._about.get(topic, ())):
            if reaches(position, entry.id):
                break
            newer.append(entry)
        newer.reverse()
        return newer

    async def _grown(self, topic: Hashable | None, within: float) -> bool:
        """Waits for an entry about a topic; returns whether there may be one."""
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
