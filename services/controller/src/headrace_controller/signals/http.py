"""One HTTP request on asyncio, bounded in size. Its caller bounds the time.

HTTP/1.0 has no chunks and closes the connection. That is all that is needed, and costs a fifth of what a general
client does, for thousands of schedulers in each round.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from typing import NamedTuple, cast

MOST_HEAD_BYTES = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |$)")


class BadAnswer(Exception):
    """An answer that is none: not HTTP, too large, or cut off."""


class Answer(NamedTuple):
    """Status and body."""

    status: int
    body: bytes


async def get(
    host: str,
    port: int,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
    most_bytes: int,
) -> Answer:
    """Return an answer. Raises OSError or `BadAnswer`."""
    lines = [f"GET {path} HTTP/1.0", f"Host: {host}:{port}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    exchange = _Exchange("\r\n".join([*lines, "", ""]).encode(), most_bytes + MOST_HEAD_BYTES)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(lambda: exchange, host, port, ssl=context)
    try:
        answer = await exchange.answer
    finally:
        transport.abort()
    return _parse(answer, most_bytes)


class _Exchange(asyncio.Protocol):
    def __init__(self, request: bytes, most_bytes: int) -> None:
        self._request = request
        self._most_bytes = most_bytes
        self._received = bytearray()
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.WriteTransport", transport).write(self._request)  # uvloop's has no such class

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > self._most_bytes and not self.answer.done():
            self.answer.set_exception(BadAnswer(f"the answer has more than {self._most_bytes} bytes"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answer.done():
            return
        if exc is not None:
            self.answer.set_exception(exc)
        else:
            self.answer.set_result(bytes(self._received))


def _parse(answer: bytes, most_bytes: int) -> Answer:
    head, separator, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    if not separator or not (match := _STATUS.match(status)):
        raise BadAnswer("the answer is not HTTP, or was cut off")
    for field in fields:
        name, _, value = field.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip() != str(len(body)).encode():
            raise BadAnswer("the answer was cut off")
    if len(body) > most_bytes:
        raise BadAnswer(f"the answer has more than {most_bytes} bytes")
    return Answer(int(match[1]), body)
