"""Tails: one reader for many followers, through gaps and absences."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest
from tests.conftest import Eventually

from headrace.errors import ResumeTokenTooOld, StoreUnavailable
from headrace_controller.mirror.tail import Tail


@dataclass(frozen=True)
class Entry:
    id: str


class Stream:
    """A stream in memory."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.reads = 0
        self.restarts = 0
        self.prepared: list[str] = []
        self.error: Exception | None = None
        self.faulty = ""
        self.prepares = asyncio.Event()
        self.prepares.set()
        self.changed = asyncio.Event()
        self.waiting = asyncio.Event()

    def add(self, *ids: str) -> None:
        self.entries += [Entry(entry) for entry in ids]
        self.changed.set()

    def fail(self, error: Exception) -> None:
        """Has the next wait fail."""
        self.error = error
        self.changed.set()

    def add_with_fault(self, entry: str) -> None:
        """Adds an entry that cannot be prepared."""
        self.faulty = entry
        self.add(entry)

    async def head(self) -> str:
        return self.entries[-1].id if self.entries else "0-0"

    async def read(self, after: str) -> tuple[Sequence[Entry], str]:
        self.reads += 1
        found = self._after(after)
        return found, found[-1].id if found else after

    async def wait(self, after: str, milliseconds: int) -> tuple[Sequence[Entry], str]:
        _ = milliseconds
        while not (found := self._after(after)) and not self.error:
            self.changed.clear()
            self.waiting.set()
            await self.changed.wait()
        self.waiting.clear()
        if self.error:
            error, self.error = self.error, None
            raise error
        return found, found[-1].id

    async def restart(self) -> None:
        self.restarts += 1

    async def prepare(self, entries: Sequence[Entry]) -> None:
        if self.faulty in (found := [entry.id for entry in entries]):
            raise ValueError(f"a fault with {self.faulty}")
        self.prepared += found
        await self.prepares.wait()

    def _after(self, after: str) -> list[Entry]:
        return [entry for entry in self.entries if int(entry.id[:-2]) > int(after[:-2])]


def parity(entry: Entry) -> tuple[str]:
    return (("even", "odd")[int(entry.id[:-2]) % 2],)


def ids(entries: Sequence[Entry]) -> list[str]:
    return [entry.id for entry in entries]


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
async def tail(stream: Stream) -> AsyncIterator[Tail[Entry]]:
    stream.add("1-0", "2-0")
    tail = Tail(stream, topics=parity, restart=stream.restart, prepare=stream.prepare, keep=5)
    running = asyncio.create_task(tail.run())
    await stream.waiting.wait()
    yield tail
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_news_come_at_once_and_from_memory(tail: Tail[Entry], stream: Stream) -> None:
    followers = [asyncio.create_task(tail.after("2-0", 5)) for _ in range(3)]
    await asyncio.sleep(0)
    stream.add("3-0")
    assert [ids(await follower) for follower in followers] == [["3-0"]] * 3
    stream.add("4-0")
    assert ids(await tail.after("3-0", 5)) == ["4-0"]
    assert ids(await tail.after("2-0", 5)) == ["3-0", "4-0"]
    assert stream.reads == 0


async def test_followers_of_a_topic_wake_for_it_alone_and_go_on_after_everything(
    tail: Tail[Entry], stream: Stream
) -> None:
    odd = asyncio.create_task(tail.about("odd", "2-0", 5))
    await asyncio.sleep(0)
    stream.add("4-0")
    assert ids(await tail.after("2-0", 5)) == ["4-0"]
    assert not odd.done()
    stream.add("5-0", "6-0")
    assert await odd == ([Entry("5-0")], "6-0")
    assert await tail.about("odd", "6-0", 0.01) == ([], "6-0")
    assert await tail.about("odd", "4-0", 5) == ([Entry("5-0")], "6-0")
    assert stream.reads == 0


async def test_a_topic_is_found_in_what_is_no_longer_in_memory(tail: Tail[Entry], stream: Stream) -> None:
    stream.add(*(f"{n}-0" for n in range(3, 20)))
    await tail.after("2-0", 5)
    entries, position = await tail.about("odd", "15-0", 5)
    assert (ids(entries), position) == (["17-0", "19-0"], "19-0")
    entries, position = await tail.about("even", "10-0", 5)
    assert (ids(entries), position) == (["12-0", "14-0", "16-0", "18-0"], "19-0")
    assert stream.reads == 2


async def test_nobody_gets_entries_before_they_are_prepared(
    tail: Tail[Entry], stream: Stream, eventually: Eventually
) -> None:
    stream.prepares.clear()
    new = asyncio.create_task(tail.after("2-0", 5))
    old = asyncio.create_task(tail.about("odd", "1-0", 5))  # which reads the stream itself
    stream.add("3-0")
    await eventually(lambda: stream.prepared)
    assert not new.done()
    assert not old.done()
    stream.prepares.set()
    assert ids(await new) == ["3-0"]
    assert ids((await old)[0]) == ["3-0"]


async def test_a_gap_restarts_and_wakes_followers_of_every_topic(tail: Tail[Entry], stream: Stream) -> None:
    odd = asyncio.create_task(tail.about("odd", "2-0", 5))
    await asyncio.sleep(0)
    stream.entries.append(Entry("3-0"))  # which the tail never gets
    stream.entries.append(Entry("4-0"))
    stream.fail(ResumeTokenTooOld("trimmed"))
    entries, position = await odd
    assert (ids(entries), position) == (["3-0"], "4-0")
    assert stream.restarts == 2
    assert stream.prepared == []


async def test_a_fault_of_a_listener_ends_nothing(tail: Tail[Entry], stream: Stream) -> None:
    def faulty(entry: Entry) -> None:
        raise ValueError(entry.id)

    heard: list[Entry] = []
    tail.on_entry(faulty)
    tail.on_entry(heard.append)
    stream.add("3-0")
    assert ids(await tail.after("2-0", 5)) == ["3-0"]
    assert heard == [Entry("3-0")]
    stream.add("4-0")
    assert ids(await tail.after("3-0", 5)) == ["4-0"]
    assert stream.restarts == 1


async def test_nothing_new_is_returned_after_the_time(tail: Tail[Entry]) -> None:
    assert await tail.after("2-0", 0.01) == []


async def test_what_is_older_is_read_from_the_stream(tail: Tail[Entry], stream: Stream) -> None:
    assert ids(await tail.after("1-0", 5)) == ["2-0"]
    stream.add(*(f"{n}-0" for n in range(3, 20)))
    await tail.after("2-0", 5)
    before = stream.reads
    assert ids(await tail.after("3-0", 5)) == [f"{n}-0" for n in range(4, 20)]
    assert stream.reads == before + 1


async def test_absences_are_survived(tail: Tail[Entry], stream: Stream, eventually: Eventually) -> None:
    heard: list[Entry] = []
    tail.on_entry(heard.append)
    stream.fail(StoreUnavailable("away"))
    stream.add("3-0", "4-0")
    await eventually(lambda: Entry("4-0") in heard)
    assert stream.restarts == 1
    stream.fail(ResumeTokenTooOld("trimmed"))
    await eventually(lambda: stream.restarts == 2)
    stream.add("6-0")
    await eventually(lambda: heard[-1] == Entry("6-0"))


async def test_after_a_fault_everything_is_read_again_but_what_caused_it(
    tail: Tail[Entry], stream: Stream, eventually: Eventually
) -> None:
    heard: list[Entry] = []
    tail.on_entry(heard.append)
    stream.add_with_fault("3-0")
    await eventually(lambda: stream.restarts == 2)
    stream.add("4-0")
    await eventually(lambda: heard == [Entry("4-0")])


async def test_what_is_found_missing_while_entries_are_prepared_is_read_again(
    tail: Tail[Entry], stream: Stream, eventually: Eventually
) -> None:
    stream.prepares.clear()
    stream.add(*(f"{n}-0" for n in range(3, 20)))  # more than stay in memory
    await eventually(lambda: stream.prepared)
    tail.invalidate()
    stream.prepares.set()
    await eventually(lambda: stream.restarts == 2)
    assert ids(await tail.after("17-0", 5)) == ["18-0", "19-0"]
