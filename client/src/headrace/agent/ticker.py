"""When to look: at regular intervals, and soon after something has come in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

# Tasks come in bursts: one look is enough for all that arrive within this time.
_GATHER_SECONDS = 0.03
# Under a rain of them, looks are no closer together than this.
_REST_SECONDS = 0.1


class Ticker:
    """Says when to look."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Asks for a look soon."""
        self._woken.set()

    async def looks(self) -> AsyncIterator[bool]:
        """Yields for ever: true for a regular look, false for one because of `wake`."""
        loop = asyncio.get_running_loop()
        regular = loop.time()
        while True:
            if loop.time() >= regular:
                regular = loop.time() + self._interval
                yield True
            elif await self._was_woken(regular):
                await asyncio.sleep(_GATHER_SECONDS)
                self._woken.clear()
                yield False
                await asyncio.sleep(_REST_SECONDS)

    async def _was_woken(self, until: float) -> bool:
        try:
            async with asyncio.timeout_at(until):
                await self._woken.wait()
        except TimeoutError:
            return False
        return True
