"""A stream of bytes in both directions that outlives its connections: each byte arrives once and in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Generator, Iterable

from headrace._resumable.outgoing import Outgoing
from headrace._resumable.records import MAX_RECORD, Header, Kind, ProtocolError, unpack_gone, unpack_welcome
from headrace._resumable.transport import Transport

logger = logging.getLogger("headrace.connection")

KEPT_BYTES = 1 << 26
_IN_FLIGHT = 1 << 23
# A record of so much is read at once; of a longer one the first bytes, since large frames have memory of their own.
_SMALL_RECORD = 1 << 18
_FIRST_BYTES = 1 << 13
_ACKNOWLEDGE_BYTES = 1 << 24
_ACKNOWLEDGE_SECONDS = 0.1
_ALIVE_SECONDS = 10.0
_SILENCE_SECONDS = 30.0
_CLOSE_SECONDS = 2.0


class SessionEnded(Exception):
    """The session has no connection and will not get another one."""


class Session:
    """The half of a session that one process holds. It belongs to one event loop.

    Parameters
    ----------
    name
        16 bytes that name it.
    lost
        Called when a connection broke: the client dials again, the scheduler waits for it.
    ended
        Called once, at the end.
    redial
        Called when another connection would be better than the present one.
    kept_bytes
        `drained` waits while more bytes than these are kept for the peer.

    Attributes
    ----------
    ended_by_peer
        Whether the peer has said that it ended, or would not have it.
    """

    def __init__(
        self,
        name: bytes,
        lost: Callable[[Session], None],
        ended: Callable[[Session], None],
        redial: Callable[[Session], None],
        *,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self.name = name
        self.received = 0
        self.grace = 0
        self.welcomed = False
        self.ended_by_peer = False
        self.end_reason: str | None = None
        self._lost, self._ended, self._redial = lost, ended, redial
        self._loop = asyncio.get_running_loop()
        self._outgoing = Outgoing()
        self._kept_bytes = kept_bytes
        self._transport: Transport | None = None
        self._changed: asyncio.Event | None = None
        self._told_received = 0
        self._acknowledging: asyncio.TimerHandle | None = None
        self._wrote = self._heard = self._loop.time()
        self._reading = False
        self._moving = False
        self._closing = False
        self._ticking = self._loop.call_later(_ALIVE_SECONDS, self._tick, time.time())

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._transport is not None

    @property
    def kept(self) -> int:
        """Bytes that are kept for the peer."""
        return self._outgoing.kept

    @property
    def full(self) -> bool:
        """Whether so much is kept that a writer should wait."""
        return self._outgoing.kept > self._kept_bytes

    def welcome(self, grace: int) -> None:
        """Note that the scheduler has the session, and for how many seconds it keeps it without a connection."""
        self.welcomed, self.grace = True, grace

    def attach(self, transport: Transport, received: int) -> None:
        """Go on with another connection, to a peer that has `received` bytes; raises `ProtocolError`."""
        self._outgoing.resume(received)
        self.detach()
        self._transport = transport
        self._heard = self._loop.time()
        self._notify()
        self._send_more()

    @contextlib.contextmanager
    def moving(self) -> Generator[None]:
        """End the present connection for another one, which is attached within: `close` waits for that."""
        self._moving = True
        self.detach()
        self._notify()
        try:
            yield
        finally:
            self._moving = False
            self._notify()

    def detach(self) -> None:
        """End the present connection: nothing that is on its way counts as received."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def send(self, views: Iterable[memoryview]) -> None:
        """Send these bytes. They are kept, by reference, until the peer has them."""
        self.check()
        self._outgoing.append(views)
        self._send_more()

    async def drained(self) -> None:
        """Wait while too much is kept; raises `SessionEnded`."""
        while self.full:
            await self._change()

    async def fill(self, view: memoryview) -> None:
        """Receive as many bytes as `view` has; raises `SessionEnded`."""
        while view.nbytes:
            transport = await self._in_data()
            piece = view[: min(view.nbytes, transport.left)]
            if await self._read_into(transport, piece):
                view = view[piece.nbytes :]

    async def chunk(self, buffer: Callable[[int], memoryview]) -> memoryview:
        """Receive the rest of a small record, or a part of a large one; raises `SessionEnded`."""
        while True:
            transport = await self._in_data()
            view = buffer(transport.left if transport.left <= _SMALL_RECORD else _FIRST_BYTES)
            if await self._read_into(transport, view):
                return view

    async def close(self) -> None:
        """End the session at both ends. What was sent is delivered, unless there is no connection now."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                while (transport := await self._with_all_sent()) is not None:
                    self._closing = True
                    transport.write(Header(Kind.CLOSE, 0, self.received).pack())
                    # The peer closes the connection: closed by this end, it might lose what is on its way.
                    while self._transport is transport:
                        await self._change()
        except (OSError, TimeoutError, SessionEnded):
            logger.debug("a session was closed without its peer")
        self.end("closed")

    async def _with_all_sent(self) -> Transport | None:
        """Return the connection once it has all that is to be sent, None if there is none."""
        while self._moving or (self._transport is not None and self._outgoing.sent < self._outgoing.end):
            await self._change()
        return self._transport

    def end(self, reason: str) -> None:
        """End the session here and now."""
        if self.end_reason is not None:
            return
        self.end_reason = reason
        self._ticking.cancel()
        if self._acknowledging is not None:
            self._acknowledging.cancel()
        if self._transport is not None and not self._closing:
            self._closing = True
            self._write(self._transport, Header(Kind.CLOSE, 0, self.received).pack())
        self.detach()
        self._notify()
        self._ended(self)

    def ask_to_redial(self) -> None:
        """Ask the client to make another connection; the present one serves until then."""
        if self._transport is not None:
            self._write(self._transport, Header(Kind.REDIAL, 0, self.received).pack())

    def check(self) -> None:
        """Raise `SessionEnded` if the session ended."""
        if self.end_reason is not None:
            raise SessionEnded(self.end_reason)

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def _change(self) -> None:
        """Wait for a change of anything that is waited for here."""
        self.check()
        if self._changed is None:
            self._changed = asyncio.Event()
        await self._changed.wait()
        self.check()

    def _break(self, transport: Transport, why: object) -> None:
        """Note that a connection is of no use any more."""
        if transport is not self._transport:
            return
        logger.debug("a connection broke: %s", why)
        if self._closing:
            self.end("closed")
            return
        self.detach()
        self._notify()
        self._lost(self)

    async def _in_data(self) -> Transport:
        """Return the connection as soon as a DATA record has bytes to read."""
        while True:
            self.check()
            transport = self._transport
            if transport is None:
                await self._change()
            elif transport.left:
                return transport
            else:
                await self._read_record(transport)

    async def _read_record(self, transport: Transport) -> None:
        self._reading = True
        try:
            header = await transport.read_header()
            payload = b"" if header.kind is Kind.DATA else await transport.read(header.length)
            if transport is self._transport:
                self._take_record(transport, header, payload)
        except OSError as error:
            self._break(transport, error)
        except ProtocolError as error:
            self.end(f"the peer broke the protocol of resumable connections: {error}")
        finally:
            self._reading = False

    def _take_record(self, transport: Transport, header: Header, payload: bytes) -> None:
        self._heard = self._loop.time()
        if header.received != self._outgoing.acknowledged:
            self._outgoing.acknowledge(header.received)
            self._notify()
        match header.kind:
            case Kind.DATA:
                transport.left = header.length
            case Kind.WELCOME:
                self.welcome(unpack_welcome(payload))
            case Kind.CLOSE:
                self._end_by_peer("the peer closed the connection")
            case Kind.GONE:
                self._end_by_peer(f"the scheduler refused the connection: {unpack_gone(payload)}")
            case Kind.REDIAL:
                self._redial(self)
            case Kind.HELLO:
                raise ProtocolError(f"an unexpected {header.kind.name}")

    def _end_by_peer(self, reason: str) -> None:
        self.ended_by_peer = True
        self.end(reason)

    async def _read_into(self, transport: Transport, view: memoryview) -> bool:
        """Return whether `view` was filled and counts as received."""
        self._reading = True
        try:
            await transport.read_into(view)
        except OSError as error:
            self._break(transport, error)
            return False
        finally:
            self._reading = False
        if transport is not self._transport:
            return False
        self.received += view.nbytes
        self._heard = self._loop.time()
        if self.received - self._told_received >= _ACKNOWLEDGE_BYTES:
            self._acknowledge()
        elif self._acknowledging is None:
            self._acknowledging = self._loop.call_later(_ACKNOWLEDGE_SECONDS, self._acknowledge)
        return True

    def _acknowledge(self) -> None:
        if self._acknowledging is not None:
            self._acknowledging.cancel()
            self._acknowledging = None
        if self._transport is not None and self._told_received != self.received:
            self._told_received = self.received
            self._write(self._transport, Header(Kind.DATA, 0, self.received).pack())

    def _send_more(self) -> None:
        transport = self._transport
        try:
            while transport is not None and transport is self._transport and transport.in_flight < _IN_FLIGHT:
                before = self._outgoing.sent
                views = self._outgoing.take(MAX_RECORD)
                if not views:
                    break
                self._told_received = self.received
                self._wrote = self._loop.time()
                transport.write_data(self.received, self._outgoing.sent - before, views, self._taken)
        except OSError as error:
            assert transport is not None
            self._break(transport, error)

    def _taken(self) -> None:
        self._send_more()
        if self._outgoing.sent == self._outgoing.end:
            self._notify()

    def _write(self, transport: Transport, record: bytes) -> None:
        self._wrote = self._loop.time()
        try:
            transport.write(record)
        except OSError as error:
            self._break(transport, error)

    def _tick(self, before: float) -> None:
        """Say that this end lives, and find out whether the other one does."""
        now = self._loop.time()
        self._ticking = self._loop.call_later(_ALIVE_SECONDS, self._tick, time.time())
        transport = self._transport
        if transport is None:
            return
        if time.time() - before > _SILENCE_SECONDS:
            # This process or its machine slept. A proxy in between may have forgotten the connection.
            self._heard = now
            self._redial(self)
        elif self._reading and now - self._heard > _SILENCE_SECONDS:
            self._break(transport, f"nothing heard for {now - self._heard:.0f} s")
        elif now - self._wrote >= _ALIVE_SECONDS / 2:
            self._write(transport, Header(Kind.DATA, 0, self.received).pack())
