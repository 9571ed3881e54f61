"""Deadline: unary calls always have one; streams go on until the client leaves or the service drains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast
from weakref import WeakSet

from headrace.errors import DeadlineExceeded, Draining
from headrace_chassis.interceptors.call import Call, Context

# Kept back of the caller's own deadline, so that our answer is there before the caller gives up.
MOST_KEPT_BACK_SECONDS = 0.1
KEPT_BACK_SHARE = 0.1


class Deadlines:
    """Bounds calls, and ends streams when the service drains."""

    def __init__(self, default_seconds: float) -> None:
        self._default_seconds = default_seconds
        self._streams: WeakSet[asyncio.Timeout] = WeakSet()
        self._draining = False

    def drain(self) -> None:
        """Ends all streams with `Draining`, also those that come yet."""
        self._draining = True
        now = asyncio.get_running_loop().time()
        for scope in list(self._streams):
            scope.reschedule(now)

    @asynccontextmanager
    async def deadline(self, call: Call, context: Context) -> AsyncGenerator[None]:
        """Innermost: bounds the work itself."""
        if call.is_stream:
            async with self._until_drained():
                yield
            return
        seconds = self._seconds(context)
        scope = asyncio.timeout(seconds)
        try:
            async with scope:
                yield
        except TimeoutError:
            if not scope.expired():
                raise
            raise DeadlineExceeded(
                f"{call.name} was not done within its {seconds:.3g} s and was given up; "
                "look whether it took effect, or repeat it with a longer deadline"
            ) from None

    @asynccontextmanager
    async def _until_drained(self) -> AsyncGenerator[None]:
        if self._draining:
            raise Draining("this replica is shutting down; call again, another one answers")
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._streams.add(scope)
                yield
        except TimeoutError:
            if not scope.expired():
                raise
            raise Draining("this replica is shutting down; open the stream again, another one answers") from None
        finally:
            self._streams.discard(scope)

    def _seconds(self, context: Context) -> float:
        remaining = cast("float | None", context.time_remaining())  # None without a deadline, whatever its type says
        if remaining is None:
            return self._default_seconds
        return remaining - min(MOST_KEPT_BACK_SECONDS, remaining * KEPT_BACK_SHARE)
