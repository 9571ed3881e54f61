"""The client's end: it dials, and dials again when the connection broke."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable

from distributed.comm.core import Comm, FatalCommClosedError
from distributed.comm.tcp import TLS

from headrace._resumable.absences import Absences
from headrace._resumable.comm import ResumableComm
from headrace._resumable.records import NAME_BYTES, Hello, Kind, ProtocolError, unpack_gone, unpack_welcome
from headrace._resumable.session import Session
from headrace._resumable.transport import Transport, speaks_resumable
from headrace.backoff import delays

logger = logging.getLogger("headrace.connection")

_DIAL_SECONDS = 15.0
_FIRST_DELAY = 0.02
# A scheduler that can be reached again is reached within a second.
_LONGEST_DELAY = 1.0
# A proxy that is killed is back within half a second: delays that doubled would then be as long as the absence itself.
_DELAY_GROWTH = 1.4
# The scheduler's clock decides; the client gives up a little later.
_MARGIN_SECONDS = 30.0
# A scheduler may ask for another connection as often as it likes, and a proxy may cut each one at once.
_DIALS_AT_ONCE, _DIALS_PER_SECOND = 100, 2.0


class Dialer:
    """Makes the connections of one session.

    Parameters
    ----------
    connect
        Makes a TLS connection to the scheduler. Raises `FatalCommClosedError` if no other attempt can succeed, other
        OSErrors if one may.
    absences
        What is known about the connections to this scheduler.
    refused
        Called when the scheduler ended the session: it may want no other one.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[TLS]],
        absences: Absences,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._absences = absences
        self._refused = refused
        self._session = Session(secrets.token_bytes(NAME_BYTES), self._lost, self._ended, self._redial)
        self._dialing: asyncio.Task[None] | None = None
        self._dials_left = float(_DIALS_AT_ONCE)
        self._counted = asyncio.get_running_loop().time()

    async def open(self, deserialize: bool) -> Comm:
        """Connect. Returns Dask's own comm if the scheduler knows no sessions."""
        try:
            comm = await self._connect()
            if not speaks_resumable(comm):
                self._session.end("not needed")
                comm.deserialize = deserialize
                return comm
            transport = Transport(comm)
            transport.write(self._hello().pack())
            self._session.attach(transport, 0)
        except BaseException:
            self._session.end("not connected")
            raise
        return ResumableComm(self._session, comm.local_address, comm.peer_address, deserialize, comm.extra_info)

    def open_later(self, address: str, deserialize: bool) -> Comm:
        """Return a comm that is connected as soon as that is possible."""
        self._lost(self._session)
        return ResumableComm(self._session, address, address, deserialize)

    def _hello(self) -> Hello:
        return Hello(self._session.name, not self._session.welcomed, self._session.received, self._absences.grace)

    def _lost(self, _: Session) -> None:
        self._absences.begin(self)
        self._redial(self._session)

    def _redial(self, _: Session) -> None:
        if self._dialing is None:
            self._dialing = asyncio.create_task(self._dial())

    def _ended(self, session: Session) -> None:
        if session.ended_by_peer:
            self._refused()
        if self._dialing is not None and self._dialing is not asyncio.current_task():
            self._dialing.cancel()
        self._absences.end(self)

    async def _dial(self) -> None:
        try:
            await self._dial_until_connected()
        except Exception as error:
            logger.exception("a connection to a scheduler is given up")
            self._session.end(f"{type(error).__name__}: {error}")
        finally:
            self._dialing = None

    async def _dial_until_connected(self) -> None:
        loop = asyncio.get_running_loop()
        if pause := self._pause(loop.time()):
            await asyncio.sleep(pause)
        began = loop.time()
        patience = max(self._absences.grace, self._session.grace) + _MARGIN_SECONDS
        for delay in delays(_FIRST_DELAY, _LONGEST_DELAY, _DELAY_GROWTH):
            try:
                async with asyncio.timeout(_DIAL_SECONDS):
                    await self._dial_once()
                if self._session.connected:
                    return
            except FatalCommClosedError as error:
                self._give_up(str(error))
                return
            except (OSError, TimeoutError, ProtocolError) as error:
                logger.debug("dialing again failed: %r", error)
                if loop.time() - began > patience:
                    self._give_up(f"no connection for {patience:.0f} s: {error}")
                    return
            await asyncio.sleep(delay)

    def _pause(self, now: float) -> float:
        """Count a dial; return the seconds to wait before it."""
        left = self._dials_left + (now - self._counted) * _DIALS_PER_SECOND
        self._dials_left, self._counted = min(left, _DIALS_AT_ONCE) - 1, now
        return max(0.0, -self._dials_left / _DIALS_PER_SECOND)

    def _give_up(self, reason: str) -> None:
        """End the session, unless its older connection still serves."""
        if self._session.connected:
            return
        self._absences.give_up(reason)
        self._session.end(reason)

    async def _dial_once(self) -> None:
        comm = await self._connect()
        try:
            await self._resume(comm)
        except BaseException:
            comm.abort()
            raise
        if self._session.connected:
            self._absences.back(self)

    async def _resume(self, comm: TLS) -> None:
        if not speaks_resumable(comm):
            raise FatalCommClosedError("the scheduler is another one now")
        transport = Transport(comm)
        # What the old connection still brings does not count: the hello says how much was received.
        self._absences.begin(self)
        with self._session.moving():
            transport.write(self._hello().pack())
            header = await transport.read_header()
            payload = await transport.read(header.length)
            if header.kind is Kind.GONE:
                raise FatalCommClosedError(f"the scheduler has given up the session: {unpack_gone(payload)}")
            if header.kind is not Kind.WELCOME:
                raise ProtocolError(f"an unexpected {header.kind.name}")
            self._session.welcome(unpack_welcome(payload))
            self._session.attach(transport, header.received)
