"""Deadline: unary calls always have one; streams run until the client leaves or the service drains."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from weakref import WeakSet

from headrace.errors import DeadlineExceeded, Draining
from headrace_chassis.interceptors.call import Call, Context, Method, Serve

# Taken off the caller's deadline, so that our answer arrives before the caller gives up.
MAX_MARGIN_SECONDS = 0.1
MARGIN_SHARE = 0.1


class Deadlines:
    """Bounds calls, and ends streams when the service drains."""

    def __init__(self, default_seconds: float) -> None:
        self._default_seconds = default_seconds
        self._streams: WeakSet[asyncio.Timeout] = WeakSet()
        self._draining = False

    def drain(self) -> None:
        """End all streams with `Draining`, also those that are opened from now on."""
        self._draining = True
        now = asyncio.get_running_loop().time()
        for scope in list(self._streams):
            scope.reschedule(now)

    def deadline(self, method: Method, serve: Serve) -> Serve:
        """Bounds the work of the servicer, and its wait for a turn."""
        return self._until_drained(serve) if method.is_stream else self._in_time(method, serve)

    def _in_time(self, method: Method, serve: Serve) -> Serve:
        async def bounded(call: Call) -> Any:
            seconds = self._seconds(call.context)
            scope = asyncio.timeout(seconds)
            try:
                async with scope:
                    return await serve(call)
            except TimeoutError:
                if not scope.expired():
                    raise
                raise DeadlineExceeded(
                    f"{method.name} took longer than its deadline of {seconds:.3g} s and was cancelled; "
                    "check whether it took effect, or repeat it with a longer deadline"
                ) from None

        return bounded

    def _until_drained(self, serve: Serve) -> Serve:
        async def drained(call: Call) -> Any:
            if self._draining:
                raise Draining("this replica is shutting down: repeat the call; another replica answers")
            scope = asyncio.timeout(None)
            try:
                async with scope:
                    self._streams.add(scope)
                    return await serve(call)
            except TimeoutError:
                if not scope.expired():
                    raise
                raise Draining(
                    "this replica is shutting down: open the stream again; another replica answers"
                ) from None
            finally:
                self._streams.discard(scope)

        return drained

    def _seconds(self, context: Context) -> float:
        # None without a deadline, though its type does not say so.
        remaining = cast("float | None", context.time_remaining())
        if remaining is None:
            return self._default_seconds
        return remaining - min(MAX_MARGIN_SECONDS, remaining * MARGIN_SHARE)
