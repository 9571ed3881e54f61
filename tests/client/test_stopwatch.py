"""Time that passed, with clocks that jump."""

from __future__ import annotations

import asyncio

import pytest

from headrace import stopwatch
from headrace.stopwatch import Stopwatch


@pytest.mark.parametrize(
    ("monotonic", "wall", "passed"),
    [
        (5.0, 5.0, 5.0),
        (5.0, 28_800.0, 28_800.0),  # the machine slept
        (5.0, -3_600.0, 5.0),  # the clock was set back
    ],
)
def test_the_clock_that_says_more_is_believed(monotonic: float, wall: float, passed: float) -> None:
    clocks = [100.0, 200.0]
    watch = Stopwatch(lambda: clocks[0], lambda: clocks[1])
    assert watch.seconds() == 0
    clocks[:] = [100 + monotonic, 200 + wall]
    assert watch.seconds() == passed


async def test_a_wait_ends_soon_after_the_machine_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch, "_LONGEST_SLEEP_SECONDS", 0.01)
    clocks = [0.0, 0.0]
    waiting = asyncio.create_task(Stopwatch(lambda: clocks[0], lambda: clocks[1]).wait_until(28_800))
    assert not (await asyncio.wait([waiting], timeout=0.05))[0]
    clocks[1] = 28_800
    await asyncio.wait_for(waiting, 10)
