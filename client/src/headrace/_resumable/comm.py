"""Dask's comm over a session."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from typing import Any

import dask.config
from dask.utils import parse_bytes
from distributed.comm.core import Comm, CommClosedError
from distributed.comm.utils import from_frames, to_frames

from headrace._resumable.messages import MessageReader, pack
from headrace._resumable.records import ProtocolError
from headrace._resumable.session import Session, SessionEnded

logger = logging.getLogger("headrace.connection")

# Received and not read by Dask: beyond this, nothing more is received.
_UNREAD_BYTES = 1 << 24


class ResumableComm(Comm):
    """Sends and receives Dask's messages over a session.

    Parameters
    ----------
    session
        The session; the comm ends it.
    local_addr, peer_addr
        Addresses of the first connection, for people and for Dask's choice of compression.
    extra_info
        What Dask wants to know about the connection.
    """

    def __init__(
        self,
        session: Session,
        local_addr: str,
        peer_addr: str,
        deserialize: bool = True,
        extra_info: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(deserialize=deserialize)
        self._session = session
        # `distributed.comm.core.connect` reads these two names.
        self._local_addr, self._peer_addr = local_addr, peer_addr
        self._extra_info = extra_info or {}
        self._inbox: deque[tuple[int, list[memoryview]]] = deque()
        self._unread = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._frame_split_size = parse_bytes(dask.config.get("distributed.comm.shard"))
        self._pump = asyncio.create_task(_receive(weakref.ref(self), MessageReader(session)))
        loop = asyncio.get_running_loop()
        self._finalizer = weakref.finalize(self, _dropped, loop, session, self._pump)
        self._finalizer.atexit = False

    @property
    def session(self) -> Session:
        """The session below."""
        return self._session

    @property
    def local_address(self) -> str:
        return self._local_addr

    @property
    def peer_address(self) -> str:
        return self._peer_addr

    @property
    def extra_info(self) -> dict[str, Any]:
        return self._extra_info

    async def read(self, deserializers: Any = None) -> Any:
        while not self._inbox:
            if self._session.end_reason is not None:
                raise CommClosedError(f"in {self}: {self._session.end_reason}")
            self._changed.clear()
            await self._changed.wait()
        size, frames = self._inbox.popleft()
        self._count_unread(-size)
        try:
            return await from_frames(
                frames, deserialize=self.deserialize, deserializers=deserializers, allow_offload=self.allow_offload
            )
        except BaseException:
            # The message is lost: the stream of messages cannot go on without it.
            self.abort()
            raise

    async def write(  # pyright: ignore[reportIncompatibleMethodOverride] - the base's methods have only docstrings
        self, msg: Any, serializers: Any = None, on_error: str | None = "message"
    ) -> int:
        self._check()
        frames = await to_frames(
            msg,
            allow_offload=self.allow_offload,
            serializers=serializers,
            on_error=on_error,
            context={"sender": self.local_info, "recipient": self.remote_info, **self.handshake_options},
            frame_split_size=self._frame_split_size,
        )
        views = pack(frames)
        try:
            self._session.send(views)
            await self._session.drained()
        except SessionEnded as error:
            raise CommClosedError(f"in {self}: {error}") from None
        return sum(view.nbytes for view in views)

    async def close(self) -> None:
        await self._session.close()
        self._end()

    def abort(self) -> None:
        self._session.end("aborted")
        self._end()

    def closed(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride] - as above
        return self._session.end_reason is not None

    def put(self, frames: list[memoryview]) -> None:
        """Take a message that was received."""
        size = sum(frame.nbytes for frame in frames)
        self._inbox.append((size, frames))
        self._count_unread(size)
        self._changed.set()

    def room(self) -> asyncio.Event:
        """Return what to wait for before more is received."""
        return self._room

    def wake(self) -> None:
        """Let a reader see that the session ended."""
        self._changed.set()

    def _count_unread(self, size: int) -> None:
        self._unread += size
        if self._unread <= _UNREAD_BYTES:
            self._room.set()
        else:
            self._room.clear()

    def _check(self) -> None:
        if self._session.end_reason is not None:
            raise CommClosedError(f"in {self}: {self._session.end_reason}")

    def _end(self) -> None:
        self._finalizer.detach()
        self._pump.cancel()
        self.wake()


async def _receive(comm_of: weakref.ref[ResumableComm], reader: MessageReader) -> None:
    """Receive messages for a comm, which it does not keep alive."""
    try:
        while True:
            frames = await reader.read()
            if (comm := comm_of()) is None:
                return
            comm.put(frames)
            room = comm.room()
            del comm, frames
            await room.wait()
    except SessionEnded:
        pass
    except ProtocolError as error:
        reader.session.end(f"the peer broke the protocol of resumable connections: {error}")
    finally:
        if (comm := comm_of()) is not None:
            comm.wake()


def _dropped(loop: asyncio.AbstractEventLoop, session: Session, pump: asyncio.Task[None]) -> None:
    """End the session of a comm that nobody has any more."""

    def end() -> None:
        session.end("dropped")
        pump.cancel()

    if session.end_reason is None and not loop.is_closed():
        logger.warning("ending a connection that was never closed")
        loop.call_soon_threadsafe(end)
