"""One question for all who ask at the same time; nobody gets an answer from before."""

from __future__ import annotations

import asyncio

import pytest

from headrace_controller.mirror.coalesced import Coalesced


class Counter:
    """Answers how often it was asked, when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.asking = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def __call__(self) -> int:
        self.asked += 1
        asked = self.asked
        self.asking.set()
        await self.answers.wait()
        if self.error:
            raise self.error
        return asked


async def test_calls_at_one_time_share_an_answer() -> None:
    counter = Counter()
    coalesced = Coalesced(counter)
    assert await asyncio.gather(*(coalesced() for _ in range(10))) == [1] * 10
    assert await coalesced() == 2


async def test_calls_during_a_question_share_the_next_one() -> None:
    counter = Counter()
    counter.answers.clear()
    coalesced = Coalesced(counter)
    first = asyncio.create_task(coalesced())
    await counter.asking.wait()
    later = [asyncio.create_task(coalesced()) for _ in range(3)]
    await asyncio.sleep(0)
    later[0].cancel()
    counter.answers.set()
    assert await first == 1
    assert [await task for task in later[1:]] == [2, 2]


async def test_a_failure_is_for_those_who_asked() -> None:
    counter = Counter()
    coalesced = Coalesced(counter)
    counter.error = ValueError("away")
    results = await asyncio.gather(coalesced(), coalesced(), return_exceptions=True)
    assert all(isinstance(result, ValueError) for result in results)
    counter.error = None
    assert await coalesced() == 2
    counter.error = ValueError("away")
    alone = asyncio.create_task(coalesced())
    await asyncio.sleep(0)
    alone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await alone
