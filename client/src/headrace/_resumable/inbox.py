"""The messages that a session received and nobody has read yet."""

from __future__ import annotations

import asyncio
from collections import deque

from headrace._resumable.messages import MessageReader
from headrace._resumable.records import ProtocolError
from headrace._resumable.session import Session, SessionEnded

# Received and not read: beyond this, nothing more is received.
_UNREAD_BYTES = 1 << 24
_NOBODY_READS_SECONDS = 0.05


class Inbox:
    """Receives for its reader. While there is none, a task receives: acknowledgements and the end arrive, too.

    It costs a turn of the event loop to wake a reader by a task, so the reader receives by itself where it can.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._reader = MessageReader(session)
        self._messages: deque[tuple[int, list[memoryview]]] = deque()
        self._unread = 0
        # One at a time receives.
        self._receiving = False
        self._waiting = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._loop = asyncio.get_running_loop()
        self._last_read = self._loop.time()
        self._looking: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._look_soon()

    async def get(self) -> list[memoryview]:
        """Return the frames of the next message. Cancelled within one, it ends the session; raises `SessionEnded`."""
        if not self._messages and not self._receiving:
            await self._receive()
        while not self._messages:
            await self._until_received()
        size, frames = self._messages.popleft()
        self._count(-size)
        self._last_read = self._loop.time()
        self._look_soon()
        return frames

    def receive_unread(self) -> None:
        """Receive in a task until somebody reads."""
        if not self._receiving and self._session.end_reason is None:
            self._receiving = True
            self._task = self._loop.create_task(self._receive_in_task())

    def close(self) -> None:
        """Drop what was not read."""
        if self._looking is not None:
            self._looking.cancel()
        if self._task is not None:
            self._task.cancel()
        self._messages.clear()
        self._changed.set()

    async def _receive(self) -> None:
        self._receiving = True
        try:
            await self._receive_one()
        except SessionEnded:
            pass
        except BaseException:
            self._session.end("a message was received in part")
            raise
        finally:
            self._receiving = False

    async def _receive_in_task(self) -> None:
        try:
            await self._receive_one()
            while not self._waiting:
                await self._room.wait()
                await self._receive_one()
        except SessionEnded:
            pass
        finally:
            self._task = None
            self._receiving = False
            self._changed.set()
            self._look_soon()

    async def _receive_one(self) -> None:
        try:
            size, frames = await self._reader.read()
        except ProtocolError as error:
            self._session.end(f"the peer broke the protocol of resumable connections: {error}")
            return
        self._messages.append((size, frames))
        self._count(size)
        self._changed.set()

    async def _until_received(self) -> None:
        """Wait for the task to receive something."""
        self._session.check()
        self._changed.clear()
        self._waiting += 1
        try:
            await self._changed.wait()
        finally:
            self._waiting -= 1

    def _count(self, size: int) -> None:
        self._unread += size
        if self._unread <= _UNREAD_BYTES:
            self._room.set()
        else:
            self._room.clear()

    def _look_soon(self) -> None:
        if self._looking is None and not self._receiving and self._session.end_reason is None:
            self._looking = self._loop.call_later(_NOBODY_READS_SECONDS, self._look)

    def _look(self) -> None:
        self._looking = None
        if self._loop.time() - self._last_read < _NOBODY_READS_SECONDS:
            self._look_soon()
        else:
            self.receive_unread()
