"""Dask's comm over a session."""

from __future__ import annotations

import asyncio
import logging
import weakref
from typing import Any

from distributed.comm.core import Comm, CommClosedError
from distributed.comm.utils import from_frames, to_frames

from headrace._resumable.inbox import Inbox
from headrace._resumable.messages import pack
from headrace._resumable.session import Session, SessionEnded

logger = logging.getLogger("headrace.connection")

# Records split what is large, and the receiver need not put together what was never apart.
_WHOLE = 1 << 62


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
        self._inbox = Inbox(session)
        self._finalizer = weakref.finalize(self, _dropped, asyncio.get_running_loop(), session)
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
        try:
            frames = await self._inbox.get()
        except SessionEnded as error:
            raise CommClosedError(f"in {self}: {error}") from None
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
        if self.closed():
            raise CommClosedError(f"in {self}: {self._session.end_reason}")
        frames = await to_frames(
            msg,
            allow_offload=self.allow_offload,
            serializers=serializers,
            on_error=on_error,
            context={"sender": self.local_info, "recipient": self.remote_info, **self.handshake_options},
            frame_split_size=_WHOLE,
        )
        size, views = pack(frames)
        try:
            self._session.send(views)
            if self._session.full:
                # Acknowledgements are received, too.
                self._inbox.receive_unread()
                await self._session.drained()
        except SessionEnded as error:
            raise CommClosedError(f"in {self}: {error}") from None
        return size

    async def close(self) -> None:
        self._inbox.receive_unread()
        await self._session.close()
        self._end()

    def abort(self) -> None:
        self._session.end("aborted")
        self._end()

    def closed(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride] - as above
        return self._session.end_reason is not None

    def _end(self) -> None:
        self._finalizer.detach()
        self._inbox.close()


def _dropped(loop: asyncio.AbstractEventLoop, session: Session) -> None:
    """End the session of a comm that nobody has any more."""
    if session.end_reason is None and not loop.is_closed():
        logger.warning("ending a connection that was never closed")
        loop.call_soon_threadsafe(session.end, "dropped")
