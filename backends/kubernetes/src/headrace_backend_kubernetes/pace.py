"""A token bucket: so many requests each second, and some more after a quiet time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SHARE = 16
"""Requests for one cluster at a time: those for others get their turns in between, however many pods it has."""


class Pace:
    """Makes callers wait, first come first served."""

    def __init__(self, per_second: float, burst: int, *, clock: Callable[[], float]) -> None:
        self._interval = 1 / per_second
        self._burst_seconds = (burst - 1) * self._interval
        self._clock = clock
        self._next = 0.0

    def wait_seconds(self) -> float:
        """Takes a turn; returns the time until it is there."""
        now = self._clock()
        self._next = max(self._next, now - self._burst_seconds) + self._interval
        return max(0.0, self._next - self._interval - now)

    async def turn(self) -> None:
        """Returns when it is the caller's turn."""
        if (wait := self.wait_seconds()) > 0:
            await asyncio.sleep(wait)
