"""HTTP/1.1 on asyncio's streams: POST requests whose answers come as streams, for `grpc_web`."""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage, parse_headers

from headrace._target.http_proxy import HttpProxy
from headrace._target.target import Target, join_host_port

BROKEN = (OSError, EOFError, ValueError, HTTPException, asyncio.LimitOverrunError)
"""What `HttpConnections.post` and the parts of an answer raise where the connection is lost or the answer malformed."""

_PIECE = 64 * 1024
_MAX_HEAD = 64 * 1024
# Node's servers, JupyterHub's proxy among them, close connections that are idle for 5 s.
_IDLE_SECONDS = 4.0
# A server that is gone without a word is noticed within a minute.
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


@dataclass(slots=True)
class Answer:
    """An answer: its head, and its body as it comes."""

    status: int
    reason: str
    headers: HTTPMessage
    _reader: asyncio.StreamReader
    _transport: asyncio.WriteTransport
    _complete: bool = False

    @property
    def reusable(self) -> bool:
        """Whether another request may follow on the connection."""
        has_end = "chunked" in self._encoding or "content-length" in self.headers
        return self._complete and has_end and self.headers.get("connection", "").lower() != "close"

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Yield pieces of the body. Raises one of `BROKEN` if it is cut off."""
        if "chunked" in self._encoding:
            while size := _chunk_size(await self._reader.readline()):
                async for piece in self._read(size):
                    yield piece
                await self._reader.readexactly(2)
            while (await self._reader.readline()).strip():
                pass
        elif (length := self.headers.get("content-length")) is not None:
            async for piece in self._read(int(length)):
                yield piece
        else:
            while piece := await self._reader.read(_PIECE):
                yield piece
        self._complete = True

    def cut_off(self) -> None:
        """Close the connection, in whatever state the answer is."""
        self._transport.abort()

    @property
    def _encoding(self) -> str:
        return self.headers.get("transfer-encoding", "").lower()

    async def _read(self, size: int) -> AsyncIterator[bytes]:
        while size > 0:
            piece = await self._reader.read(min(size, _PIECE))
            if not piece:
                raise EOFError("the connection was closed")
            size -= len(piece)
            yield piece


@dataclass(slots=True)
class _Line:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_since: float = 0.0

    def is_usable(self, now: float) -> bool:
        closed = self.writer.is_closing() or self.reader.at_eof()
        return not closed and now - self.idle_since < _IDLE_SECONDS


@dataclass(slots=True)
class HttpConnections:
    """Connections to the host of a target, each used by one request at a time and kept for the next ones."""

    target: Target
    _context: ssl.SSLContext | None = None
    _idle: list[_Line] = field(default_factory=list[_Line])
    _busy: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])

    @asynccontextmanager
    async def post(self, path: str, headers: Mapping[str, str], body: bytes) -> AsyncGenerator[Answer, None]:
        """Send a request, and hold its answer for the length of the block. An answer not read to its end is cut off."""
        line = await self._take()
        self._busy.add(line.writer)
        answer = None
        try:
            line.writer.write(_head(self._host(), path, headers, len(body)) + body)
            await line.writer.drain()
            answer = await _read_answer(line.reader, line.writer)
            yield answer
        finally:
            self._busy.discard(line.writer)
            if answer is not None and answer.reusable:
                line.idle_since = asyncio.get_running_loop().time()
                self._idle.append(line)
            else:
                line.writer.transport.abort()

    def close(self) -> None:
        """Close all connections; requests in progress fail."""
        for writer in (*self._busy, *(line.writer for line in self._idle)):
            writer.transport.abort()
        self._idle.clear()

    def _host(self) -> str:
        default = 443 if self.target.tls else 80
        return self.target.endpoint if self.target.port != default else join_host_port(self.target.host, 0)[:-2]

    async def _take(self) -> _Line:
        now = asyncio.get_running_loop().time()
        while self._idle:
            line = self._idle.pop()
            if line.is_usable(now):
                return line
            line.writer.transport.abort()
        return await self._connect()

    async def _connect(self) -> _Line:
        target = self.target
        if target.tls and self._context is None:
            self._context = client_context(target)
        if target.http_proxy is None:
            name = target.host if target.tls else None
            reader, writer = await asyncio.open_connection(
                target.host, target.port, limit=_MAX_HEAD, ssl=self._context, server_hostname=name
            )
        else:
            reader, writer = await self._connect_through_proxy()
        _keep_alive(writer.get_extra_info("socket"))
        return _Line(reader, writer)

    async def _connect_through_proxy(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        target, proxy = self.target, self.target.http_proxy
        assert proxy is not None
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port, limit=_MAX_HEAD)
        try:
            request = f"CONNECT {target.endpoint} HTTP/1.1\r\nHost: {target.endpoint}\r\n{proxy.login}\r\n"
            writer.write(request.encode("latin-1"))
            _check_tunnel(await _read_answer(reader, writer), proxy)
            if self._context is not None:
                await writer.start_tls(self._context, server_hostname=target.host)
        except BaseException:
            writer.transport.abort()
            raise
        return reader, writer


def client_context(target: Target) -> ssl.SSLContext:
    """The TLS context of connections to a target."""
    return ssl.create_default_context(cadata=target.ca_pem.decode("ascii", "ignore") if target.ca_pem else None)


def _head(host: str, path: str, headers: Mapping[str, str], length: int) -> bytes:
    fields = {"host": host, **headers, "content-length": str(length)}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header has a line break")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _read_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        first, _, rest = head.partition(b"\r\n")
        version, _, status = first.decode("latin-1").partition(" ")
        code, _, reason = status.partition(" ")
        if not version.startswith("HTTP/1.") or not code.isdigit():
            raise ValueError(f"the answer is not HTTP/1.1: {first[:40]!r}")
        if int(code) >= 200:
            return Answer(int(code), reason, parse_headers(io.BytesIO(rest)), reader, writer.transport)


def _check_tunnel(answer: Answer, proxy: HttpProxy) -> None:
    if not 200 <= answer.status < 300:
        raise OSError(f"{proxy} answers {answer.status} {answer.reason}")


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    if not digits.isalnum():
        raise ValueError("the answer is cut off, or a chunk has no size")
    return int(digits, 16)


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
