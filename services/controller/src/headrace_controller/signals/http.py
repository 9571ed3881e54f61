"""HTTP requests on asyncio, bounded in size, one after another on a connection. Their caller bounds the time.

HTTP/1.0 has no chunks. That is all that is needed, and costs a fraction of what a general client does, for thousands of
schedulers in each round.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from typing import NamedTuple, cast

MOST_HEAD_BYTES = 16 * 1024
KEEP = {"Connection": "keep-alive"}
"""Header of a request after which the connection may stay open."""

_STATUS = re.compile(rb"http/1\.[01] ([1-5][0-9][0-9])(?:[ \r]|$)")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_END_OF_HEAD = b"\r\n\r\n"


class BadAnswer(Exception):
    """An answer that is none: not HTTP, too large, or cut off."""


class Answer(NamedTuple):
    """Status and body."""

    status: int
    body: bytes


class Connection(asyncio.Protocol):
    """A connection to a server."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._keeps = False
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._received = bytearray()
        self._head: _Head | None = None
        self._most_bytes = 0

    @property
    def reusable(self) -> bool:
        """Whether it is open, and another request can follow."""
        return self._keeps and self._transport is not None and not self._transport.is_closing()

    async def get(self, path: str, *, headers: Mapping[str, str] | None = None, most_bytes: int) -> Answer:
        """Return an answer. Raises OSError or `BadAnswer`. Unless the connection is `reusable` then, it is closed."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection was closed")
        self._keeps, self._head, self._most_bytes = False, None, most_bytes
        self._received.clear()
        self._answer = asyncio.get_running_loop().create_future()
        lines = [f"GET {path} HTTP/1.0", f"Host: {self._host}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
        self._transport.write("\r\n".join([*lines, "", ""]).encode())
        try:
            answer = await self._answer
        except BaseException:
            self.close()
            raise
        if not self._keeps:
            self.close()
        return answer

    def close(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's has no such class

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():  # nobody has asked
            self.close()
            return
        self._received += data
        try:
            self._look(self._answer)
        except BadAnswer as error:
            self._answer.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is None or self._answer.done():
            return
        if exc is not None:
            self._answer.set_exception(exc)
        elif self._head is None or self._head.length is not None:
            self._answer.set_exception(BadAnswer("the answer is not HTTP, or was cut off"))
        else:
            self._answer.set_result(self._complete(self._head))

    def _look(self, answer: asyncio.Future[Answer]) -> None:
        """Answer if all has come."""
        if self._head is None:
            self._head = _parse_head(self._received)
            if self._head is None:
                return
        head, size = self._head, len(self._received) - self._head.size
        if max(size, head.length or 0) > self._most_bytes:
            raise BadAnswer(f"the answer has more than {self._most_bytes} bytes")
        if head.length is None or size < head.length:
            return
        if size > head.length:
            raise BadAnswer("the answer is longer than it says")
        self._keeps = head.keeps
        answer.set_result(self._complete(head))

    def _complete(self, head: _Head) -> Answer:
        return Answer(head.status, bytes(memoryview(self._received)[head.size :]))


async def connect(host: str, port: int, context: ssl.SSLContext | None = None) -> Connection:
    """Connect to a server. Raises OSError."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Connection(f"{host}:{port}"), host, port, ssl=context)
    return connection


class _Head(NamedTuple):
    """`length` of the body; None: it lasts as long as the connection."""

    status: int
    size: int
    length: int | None
    keeps: bool


def _parse_head(received: bytearray) -> _Head | None:
    """Return the head of an answer, None if there is more to come."""
    end = received.find(_END_OF_HEAD, 0, MOST_HEAD_BYTES)
    if end < 0:
        if len(received) > MOST_HEAD_BYTES:
            raise BadAnswer("the answer is not HTTP")
        return None
    head = bytes(received[:end]).lower()
    if not (match := _STATUS.match(head)):
        raise BadAnswer("the answer is not HTTP")
    length = _field(head, b"content-length")
    if length is not None and not _LENGTH.fullmatch(length):
        raise BadAnswer("the answer has no readable length")
    return _Head(
        status=int(match[1]),
        size=end + len(_END_OF_HEAD),
        length=None if length is None else int(length),
        keeps=_field(head, b"connection") == b"keep-alive",
    )


def _field(head: bytes, name: bytes) -> bytes | None:
    _, found, rest = head.partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip() if found else None
