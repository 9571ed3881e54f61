"""Tails: one reader for many followers, through gaps and absences."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.conftest import Eventually

from headrace.errors import ResumeTokenTooOld, StoreUnavailable
from headrace_controller.store.tail import Tail


class Stream:
    """A stream in memory; its entries are their ids."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.reads = 0
        self.error: Exception | None = None
        self.grown = asyncio.Event()

    def add(self, *entries: str) -> None:
        self.entries += entries
        self.grown.set()
        self.grown = asyncio.Event()

    async def head(self) -> str:
        return self.entries[-1] if self.entries else "0-0"

    async def read(self, after: str) -> list[str]:
        self.reads += 1
        return self._after(after)

    async def wait(self, after: str, _milliseconds: int) -> list[str]:
        if self.error:
            error, self.error = self.error, None
            raise error
        if not (found := self._after(after)):
            await self.grown.wait()
        return found

    def _after(self, after: str) -> list[str]:
        return [entry for entry in self.entries if int(entry[:-2]) > int(after[:-2])]


def parity(entry: str) -> tuple[str]:
    return (("even", "odd")[int(entry[:-2]) % 2],)


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
async def tail(stream: Stream) -> AsyncIterator[Tail[str]]:
    stream.add("1-0", "2-0")
    made = Tail(head=stream.head, read=stream.read, wait=stream.wait, position=str, topics=parity, keep=5)
    running = asyncio.create_task(made.run())
    await asyncio.sleep(0.01)
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_news_come_at_once_and_from_memory(tail: Tail[str], stream: Stream) -> None:
    followers = [asyncio.create_task(tail.after("2-0", 5)) for _ in range(3)]
    await asyncio.sleep(0)
    stream.add("3-0")
    assert await asyncio.gather(*followers) == [["3-0"]] * 3
    stream.add("4-0")
    await asyncio.sleep(0.01)
    assert await tail.after("2-0", 5) == ["3-0", "4-0"]
    assert stream.reads == 0


async def test_followers_of_a_topic_wake_for_it_alone_and_go_on_after_everything(
    tail: Tail[str], stream: Stream
) -> None:
    odd = asyncio.create_task(tail.about("odd", "2-0", 5))
    await asyncio.sleep(0)
    stream.add("4-0")
    assert await tail.after("2-0", 5) == ["4-0"]
    await asyncio.sleep(0.01)
    assert not odd.done()
    stream.add("5-0", "6-0")
    assert await odd == (["5-0"], "6-0")
    assert await tail.about("odd", "6-0", 0.01) == ([], "6-0")
    assert await tail.about("odd", "4-0", 5) == (["5-0"], "6-0")
    assert stream.reads == 0


async def test_a_topic_is_found_in_what_is_no_longer_at_hand(tail: Tail[str], stream: Stream) -> None:
    stream.add(*(f"{n}-0" for n in range(3, 20)))
    await tail.after("2-0", 5)
    assert await tail.about("odd", "15-0", 5) == (["17-0", "19-0"], "19-0")
    assert await tail.about("even", "10-0", 5) == (["12-0", "14-0", "16-0", "18-0"], "19-0")
    assert stream.reads == 2


async def test_a_gap_wakes_followers_of_every_topic(tail: Tail[str], stream: Stream) -> None:
    odd = asyncio.create_task(tail.about("odd", "2-0", 5))
    await asyncio.sleep(0)
    stream.entries.append("3-0")  # which is never told
    stream.error = ResumeTokenTooOld("trimmed")
    stream.grown.set()
    stream.add("4-0")
    assert await odd == (["3-0"], "4-0")


async def test_nothing_new_is_told_after_the_time(tail: Tail[str]) -> None:
    assert await tail.after("2-0", 0.01) == []


async def test_what_is_older_is_read_from_the_stream(tail: Tail[str], stream: Stream) -> None:
    assert await tail.after("1-0", 5) == ["2-0"]
    stream.add(*(f"{n}-0" for n in range(3, 20)))
    await asyncio.sleep(0.01)
    assert await tail.after("3-0", 5) == [f"{n}-0" for n in range(4, 20)]
    assert stream.reads == 2


async def test_absences_and_gaps_are_survived(tail: Tail[str], stream: Stream, eventually: Eventually) -> None:
    gaps: list[int] = []
    heard: list[str] = []
    tail.on_gap(lambda: gaps.append(1))
    tail.on_entry(heard.append)
    stream.error = StoreUnavailable("away")
    stream.add("3-0")
    await asyncio.sleep(0.01)
    stream.add("4-0")
    await eventually(lambda: "4-0" in heard)
    assert not gaps
    stream.error = ResumeTokenTooOld("trimmed")
    stream.add("5-0")
    await eventually(lambda: gaps)
    stream.add("6-0")
    await eventually(lambda: heard[-1] == "6-0")
