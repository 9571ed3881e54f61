"""What else may answer at an address with a path: a hub's pages, a proxy that reaches nothing, a cut connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import dask.config
import grpc
import pytest

from headrace import TokenAuth, errors
from headrace._target.target import Target
from headrace._wire import auth_calls
from headrace._wire.connection import Connection
from headrace.v1.auth_service_pb2 import ServerInfo
from headrace.v1.cluster_service_pb2 import ListClustersRequest

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web+proto\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
MESSAGE = ServerInfo(version="1.2.3").SerializeToString()
TRAILERS = b"grpc-status:0\r\nheadrace-version:1.2.3\r\n"
FRAMES = b"\0" + len(MESSAGE).to_bytes(4) + MESSAGE + b"\x80" + len(TRAILERS).to_bytes(4) + TRAILERS


@dataclass
class Page:
    """Answers each request with the next of some bytes, and the last one again and again."""

    answers: list[bytes] = field(default_factory=list[bytes])
    requests: list[bytes] = field(default_factory=list[bytes])
    connections: int = 0
    port: int = 0
    closes: bool = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                self.requests.append(head + await reader.readexactly(length))
                writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
                if self.closes:
                    break
        except (EOFError, OSError):
            pass
        writer.close()


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    page = Page()
    async with await asyncio.start_server(page.serve, "127.0.0.1", 0) as server:
        page.port = server.sockets[0].getsockname()[1]
        yield page


@pytest.fixture
async def connection(page: Page) -> AsyncIterator[Connection]:
    connection = Connection(Target.resolve(f"http://127.0.0.1:{page.port}/services/x", auth=TokenAuth("secret")))
    yield connection
    await connection.close()


def _html(status: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "content-type: text/html", "content-length: 5", *headers, "", "hello"]
    return "\r\n".join(lines).encode()


async def _version(connection: Connection) -> str:
    return (await auth_calls.server_info(connection)).version


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (_html("404 Not Found"), "answers HTTP 404 Not Found, and not gRPC"),
        (_html("403 Forbidden"), "answers HTTP 403 Forbidden, and not gRPC"),
        (_html("200 OK"), "answers HTTP 200 OK, and not gRPC"),
        (_html("302 Found", "location: /hub/login?next=secret"), "answers HTTP 302 Found to /hub/login, and not gRPC"),
    ],
)
async def test_pages_are_told_at_once(page: Page, connection: Connection, answer: bytes, told: str) -> None:
    page.answers = [answer]
    with pytest.raises(errors.NotHeadrace) as raised:
        await _version(connection)
    message = raised.value.message
    assert f"http://127.0.0.1:{page.port}/services/x {told}" in message
    assert "headrace is not at the path /services/x: see headrace.address" in message
    assert len(page.requests) == 1


async def test_a_hub_that_has_lost_its_routes_for_a_while_is_waited_for(page: Page, connection: Connection) -> None:
    page.answers = [CHUNKED + _chunks(FRAMES), _html("404 Not Found"), _html("503 No"), CHUNKED + _chunks(FRAMES)]
    for _ in range(2):
        assert await _version(connection) == "1.2.3"
    assert len(page.requests) == 4


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"])
async def test_a_proxy_that_reaches_nothing(page: Page, connection: Connection, status: str) -> None:
    page.answers = [_html(status)]
    with (
        dask.config.set({"headrace.timeouts.call": "2s"}),
        pytest.raises(errors.Unreachable, match=f"HTTP {status}: the proxy there does not reach headrace"),
    ):
        await _version(connection)
    assert len(page.requests) > 1


async def test_an_attempt_that_the_deadline_cuts_short_hides_no_reason(page: Page, connection: Connection) -> None:
    page.answers = [_html("503 Service Unavailable"), b"HTTP/1.1 100 Continue\r\n\r\n"]
    page.closes = False
    with (
        dask.config.set({"headrace.timeouts.call": "2s"}),
        pytest.raises(errors.Unreachable, match="HTTP 503 Service Unavailable"),
    ):
        await _version(connection)
    assert len(page.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-x\r\n\r\n",
        HEAD + b"content-length: 100\r\n\r\n" + FRAMES,
        CHUNKED + b"zz\r\n",
        CHUNKED + b"-5\r\n",
        CHUNKED + b"9000\r\n" + FRAMES,
        CHUNKED + b"0\r\n\r\n",
        HEAD + b"content-length: 3\r\n\r\n\0\0\0",
        HEAD + b"grpc-status: many\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"x: " + bytes(100_000) + b"\r\n\r\n",
    ],
)
async def test_malformed_answers_are_errors_that_are_repeated(
    page: Page, connection: Connection, answer: bytes
) -> None:
    page.answers = [answer, answer, CHUNKED + _chunks(FRAMES)]
    assert await _version(connection) == "1.2.3"
    assert len(page.requests) == 3


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("head", [HEAD + b"\r\n", HEAD + b"content-length: %d\r\n\r\n" % len(FRAMES)])
async def test_answers_come_in_any_pieces(page: Page, connection: Connection, size: int, head: bytes) -> None:
    page.answers = [CHUNKED + _chunks(FRAMES, size), head + FRAMES]
    for _ in range(2):
        assert await _version(connection) == "1.2.3"


async def test_a_connection_is_used_again(page: Page, connection: Connection) -> None:
    page.closes = False
    page.answers = [CHUNKED + _chunks(FRAMES)]
    for _ in range(5):
        assert await _version(connection) == "1.2.3"
    assert page.connections == 1
    assert page.requests[0].startswith(b"POST /services/x/headrace.v1.AuthService/GetServerInfo HTTP/1.1\r\n")
    assert f"host: 127.0.0.1:{page.port}\r\n".encode() in page.requests[0]


async def test_a_token_with_a_line_break_adds_no_header(page: Page, connection: Connection) -> None:
    metadata = (("authorization", "Bearer x\r\nhost: y"),)
    with pytest.raises(grpc.aio.AioRpcError, match="line break"):
        await connection.clusters.ListClusters(ListClustersRequest(), metadata=metadata)
    assert not page.requests


def _chunks(content: bytes, size: int = 1000) -> bytes:
    pieces = [content[n : n + size] for n in range(0, len(content), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
