"""The records that travel on a TLS connection: a header of 13 bytes, then as many bytes as it says."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import NamedTuple

# Agreed on by ALPN (RFC 7301), within the TLS handshake: who does not know the name speaks Dask's own protocol.
ALPN = "headrace-resumable/1"
NAME_BYTES = 16
MAX_RECORD = 1 << 22
MAX_REASON = 200


class Kind(enum.IntEnum):
    """Kinds of records. DATA without bytes is an acknowledgement and a sign of life."""

    DATA = 0
    CLOSE = 1
    HELLO = 2
    WELCOME = 3
    GONE = 4
    REDIAL = 5


_KINDS = dict(enumerate(Kind))


class ProtocolError(Exception):
    """The peer sent what the protocol does not allow."""


class Header(NamedTuple):
    """Start of a record.

    Attributes
    ----------
    kind
        What follows.
    length
        Bytes that follow.
    received
        Bytes of the session that the sender of the record has received, over all of its connections.
    """

    kind: Kind
    length: int
    received: int

    def pack(self) -> bytes:
        """Return the 13 bytes."""
        return _HEADER.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Header:
        """Return the header of 13 bytes; raises `ProtocolError`."""
        kind, length, received = _HEADER.unpack(data)
        if length > MAX_RECORD:
            raise ProtocolError(f"a record of {length} bytes")
        if kind not in _KINDS:
            raise ProtocolError(f"a record of kind {kind}")
        return cls(_KINDS[kind], length, received)


_HEADER = struct.Struct("!BIQ")
HEADER_BYTES = _HEADER.size


@dataclass(frozen=True, slots=True)
class Hello:
    """First record of the client on each connection.

    Attributes
    ----------
    name
        16 random bytes that name the session.
    new
        Whether the session may be unknown to the scheduler.
    received
        Bytes that the client has received.
    grace
        Seconds that the scheduler should keep the session while it has no connection.
    """

    name: bytes
    new: bool
    received: int
    grace: int

    def pack(self) -> bytes:
        """Return the record."""
        payload = _HELLO.pack(self.name, self.new, self.grace)
        return Header(Kind.HELLO, len(payload), self.received).pack() + payload

    @classmethod
    def unpack(cls, header: Header, payload: bytes) -> Hello:
        """Return what the record says; raises `ProtocolError`."""
        if header.kind is not Kind.HELLO or header.length != HELLO_BYTES:
            raise ProtocolError("the first record is not a hello")
        name, new, grace = _HELLO.unpack(payload)
        return cls(name, bool(new), header.received, grace)


_HELLO = struct.Struct(f"!{NAME_BYTES}sBI")
HELLO_BYTES = _HELLO.size


def pack_welcome(received: int, grace: int) -> bytes:
    """Return the scheduler's answer to a hello: the session exists and is kept for `grace` seconds of absence."""
    return Header(Kind.WELCOME, _GRACE.size, received).pack() + _GRACE.pack(grace)


def unpack_welcome(payload: bytes) -> int:
    """Return the seconds of grace; raises `ProtocolError`."""
    if len(payload) != _GRACE.size:
        raise ProtocolError(f"a welcome of {len(payload)} bytes")
    return _GRACE.unpack(payload)[0]


_GRACE = struct.Struct("!I")


def pack_gone(reason: str) -> bytes:
    """Return the scheduler's answer to a hello for a session that it does not have."""
    payload = reason.encode()[:MAX_REASON]
    return Header(Kind.GONE, len(payload), 0).pack() + payload


def unpack_gone(payload: bytes) -> str:
    """Return the reason."""
    return payload[:MAX_REASON].decode(errors="replace")
