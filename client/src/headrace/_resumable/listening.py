"""The scheduler's end: it keeps sessions while their clients are away, at the port of its ordinary connections."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from distributed.comm.core import Comm
from distributed.comm.registry import backends
from distributed.comm.tcp import TLS, TLSBackend, TLSListener

from headrace._resumable.comm import ResumableComm
from headrace._resumable.guests import Guests, members_of
from headrace._resumable.records import ALPN, HELLO_BYTES, Hello, ProtocolError, pack_gone, pack_welcome
from headrace._resumable.session import Session
from headrace._resumable.transport import Transport, speaks_resumable

logger = logging.getLogger("headrace.connection")

_HELLO_SECONDS = 10.0
_MAX_AWAY = 1000
_UNKNOWN = "it ended, was away for too long, or belongs to somebody else"
_NO_GUEST = "the cluster is no longer shared with you"


@dataclass(frozen=True, slots=True)
class _Kept:
    session: Session
    subject: object
    comm: ResumableComm


class SessionTable:
    """The sessions of one scheduler.

    Parameters
    ----------
    grace
        Seconds that a session is kept without a connection, if its client does not want less. 0: there are no sessions,
        only ordinary connections.

    Attributes
    ----------
    guests
        Through whom clients may connect; also of ordinary connections.
    """

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.guests = Guests()
        self._notify_away = self._notify_back = self._notify_ended = _ignore
        self._sessions: dict[bytes, _Kept] = {}
        self._away: dict[bytes, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def watch(
        self, *, away: Callable[[Comm], None], back: Callable[[Comm], None], ended: Callable[[Comm], None]
    ) -> None:
        """Call these with the comm of a session that lost its connection, has one again, or ended."""
        self._notify_away, self._notify_back, self._notify_ended = away, back, ended

    def grace_of(self, comm: Comm) -> float:
        """Return the seconds for which the session of a comm is kept without a connection."""
        return comm.session.grace if isinstance(comm, ResumableComm) else 0.0

    async def accept(self, comm: TLS) -> ResumableComm | None:
        """Read a client's hello. Returns the comm of a new session; None if one goes on, or if there is none."""
        try:
            transport = Transport(comm)
            async with asyncio.timeout(_HELLO_SECONDS):
                header = await transport.read_header()
                hello = Hello.unpack(header, await transport.read(min(header.length, HELLO_BYTES)))
            if not await self.guests.admits_soon(members_of(comm)):
                return _refuse(comm, transport, _NO_GUEST)
            return self._take(comm, transport, hello)
        except (OSError, TimeoutError, ProtocolError) as error:
            logger.info("a connection from %s was refused: %s", comm.peer_address, error)
            comm.abort()
            return None

    def redial(self, within: float = 0.0) -> None:
        """Ask all clients to make another connection, each at some time of the next `within` seconds."""
        loop = asyncio.get_running_loop()
        for kept in self._sessions.values():
            loop.call_later(random.uniform(0, within), kept.session.ask_to_redial)  # noqa: S311 not for secrecy

    def _take(self, comm: TLS, transport: Transport, hello: Hello) -> ResumableComm | None:
        subject, members = _subject(comm), members_of(comm)
        kept = self._sessions.get(hello.name)
        if (kept is None and not hello.new) or (kept is not None and kept.subject != subject):
            return _refuse(comm, transport, _UNKNOWN)
        if kept is not None:
            self._resume(kept, transport, hello)
            self.guests.enter(kept.comm, members, ResumableComm.abort)
            return None
        session = Session(hello.name, self._lost, self._ended, _no_redial)
        session.grace = min(int(self.grace), hello.grace)
        try:
            transport.write(pack_welcome(0, session.grace))
        except OSError:
            session.end("not connected")
            raise
        session.attach(transport, 0)
        made = ResumableComm(session, comm.local_address, comm.peer_address, comm.deserialize, comm.extra_info)
        made.allow_offload = comm.allow_offload
        self._sessions[hello.name] = _Kept(session, subject, made)
        self.guests.enter(made, members, ResumableComm.abort)
        return made

    def _resume(self, kept: _Kept, transport: Transport, hello: Hello) -> None:
        session = kept.session
        # If one of these fails, the session stays as it is: with its older connection, or away.
        transport.write(pack_welcome(session.received, session.grace))
        session.attach(transport, hello.received)
        if session.connected and (timer := self._away.pop(session.name, None)) is not None:
            timer.cancel()
            self._notify_back(kept.comm)

    def _lost(self, session: Session) -> None:
        if session.name in self._away:
            return
        while len(self._away) >= _MAX_AWAY:
            oldest = next(iter(self._away))
            self._sessions[oldest].session.end("too many clients are away")
        loop = asyncio.get_running_loop()
        self._away[session.name] = loop.call_later(session.grace, session.end, "the client was away for too long")
        self._notify_away(self._sessions[session.name].comm)

    def _ended(self, session: Session) -> None:
        kept = self._sessions.pop(session.name, None)
        if (timer := self._away.pop(session.name, None)) is not None:
            timer.cancel()
        if kept is not None:
            self._notify_ended(kept.comm)


def _ignore(_: Comm) -> None:
    """Nobody watches."""


def _no_redial(_: Session) -> None:
    """The client dials."""


def _refuse(comm: TLS, transport: Transport, reason: str) -> None:
    transport.write(pack_gone(reason))
    asyncio.get_running_loop().call_later(_HELLO_SECONDS, comm.abort)


def _subject(comm: TLS) -> object:
    """Return whom the peer's certificate names: it stays when the certificate is renewed."""
    return [value for names in comm.extra_info["peercert"]["subject"] for kind, value in names if kind == "commonName"]


class _Listener(TLSListener):
    def __init__(
        self,
        table: SessionTable,
        location: str,
        handle_comm: Callable[[Comm], Awaitable[None]],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(location, self._handle, *args, **kwargs)
        self._table = table
        self._handle_comm = handle_comm
        self._accepted: dict[Comm, ResumableComm | None] = {}

    async def on_connection(self, comm: Comm, *args: Any, **kwargs: Any) -> None:
        if not isinstance(comm, TLS) or not speaks_resumable(comm):
            await self._admit(comm, *args, **kwargs)
            return
        accepted = await self._table.accept(comm)
        if accepted is not None:
            try:
                await super().on_connection(accepted, *args, **kwargs)
            except BaseException:
                accepted.abort()
                raise
        self._accepted[comm] = accepted

    async def _admit(self, comm: Comm, *args: Any, **kwargs: Any) -> None:
        """Take an ordinary connection."""
        if isinstance(comm, TLS):
            members = members_of(comm)
            if not await self._table.guests.admits_soon(members):
                logger.info("a connection from %s was refused: %s", comm.peer_address, _NO_GUEST)
                self._accepted[comm] = None
                comm.abort()
                return
            self._table.guests.enter(comm, members, TLS.abort)
        await super().on_connection(comm, *args, **kwargs)

    async def _handle(self, comm: Comm) -> None:
        accepted = self._accepted.pop(comm, comm)
        if accepted is not None:
            await self._handle_comm(accepted)


class ResumableTLSBackend(TLSBackend):
    """Dask's own ``tls://``, whose listeners take sessions too, and guests only as long as they may connect."""

    def __init__(self, table: SessionTable) -> None:
        self._table = table

    def get_listener(
        self, loc: str, handle_comm: Callable[[Comm], Awaitable[None]], deserialize: bool, **connection_args: Any
    ) -> TLSListener:
        context = connection_args.get("ssl_context")
        if self._table.grace and isinstance(context, ssl.SSLContext):
            context.set_alpn_protocols([ALPN])
        return _Listener(self._table, loc, handle_comm, deserialize, **connection_args)


def install(table: SessionTable) -> None:
    """Let all listeners at ``tls://`` that this process starts from now on take sessions of `table`."""
    backends["tls"] = ResumableTLSBackend(table)
