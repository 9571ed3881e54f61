"""Times the checks of the scheduler: at regular intervals, and soon after something happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

# Tasks come in bursts: one check covers all that arrive within this time.
_GATHER_SECONDS = 0.03
# Minimum time between two checks while tasks keep coming.
_PAUSE_SECONDS = 0.1


class PollTimer:
    """Times the checks; `interval` is in seconds."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Requests a check soon."""
        self._woken.set()

    async def polls(self) -> AsyncIterator[bool]:
        """Yields until cancelled: true for a regular check, false for one that `wake` requested."""
        loop = asyncio.get_running_loop()
        next_regular = loop.time()
        while True:
            if loop.time() >= next_regular:
                next_regular = loop.time() + self._interval
                yield True
            elif await self._was_woken(next_regular):
                await asyncio.sleep(_GATHER_SECONDS)
                self._woken.clear()
                yield False
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _was_woken(self, until: float) -> bool:
        try:
            async with asyncio.timeout_at(until):
                await self._woken.wait()
        except TimeoutError:
            return False
        return True
