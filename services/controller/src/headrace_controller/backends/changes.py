"""Hands the changes of processes to everybody who streams them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from weakref import WeakSet

from headrace_controller.backends.process import ProcessStatus


class ChangeFeed:
    """Hands each change to all streams that were opened before it."""

    def __init__(self) -> None:
        self._streams: WeakSet[Changes] = WeakSet()
        self._closed = False

    def publish(self, status: ProcessStatus) -> None:
        """Adds a change to each stream."""
        for stream in self._streams:
            stream.put(status)

    def stream(self) -> Changes:
        """Opens a stream of the changes from now on."""
        stream = Changes()
        if self._closed:
            stream.put(None)
        else:
            self._streams.add(stream)
        return stream

    def close(self) -> None:
        """Ends all streams, after the changes that they already have."""
        self._closed = True
        for stream in self._streams:
            stream.put(None)


class Changes(AsyncIterator[ProcessStatus]):
    """A stream of changes. It collects nothing any more once nobody refers to it."""

    def __init__(self) -> None:
        self._waiting: deque[ProcessStatus | None] = deque()
        self._arrived = asyncio.Event()

    def put(self, status: ProcessStatus | None) -> None:
        """Adds a change; None ends the stream."""
        self._waiting.append(status)
        self._arrived.set()

    async def __anext__(self) -> ProcessStatus:
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        if (status := self._waiting[0]) is None:
            raise StopAsyncIteration
        self._waiting.popleft()
        return status
