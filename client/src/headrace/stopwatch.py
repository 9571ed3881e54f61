"""Time that passed, also while the machine slept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_LONGEST_SLEEP_SECONDS = 60.0


class Stopwatch:
    """Runs from its creation on.

    The monotonic clock may stand still while the machine sleeps, and the wall clock may be set: of both, the one that
    says more is believed. What is renewed by this is renewed too early at the worst.

    Parameters
    ----------
    monotonic, wall
        The clocks.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._monotonic, self._wall = monotonic, wall
        self._start = monotonic(), wall()

    def seconds(self) -> float:
        """Return the seconds that passed."""
        return max(self._monotonic() - self._start[0], self._wall() - self._start[1])

    async def wait_until(self, seconds: float) -> None:
        """Wait until so many seconds have passed since the start; up to a minute more after the machine slept."""
        while (left := seconds - self.seconds()) > 0:  # noqa: ASYNC110 - nobody sets an event as time passes
            await asyncio.sleep(min(left, _LONGEST_SLEEP_SECONDS))
