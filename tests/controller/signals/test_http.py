"""One HTTP request after another on a connection, to servers of people who may want harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing

import pytest
from tests.controller.signals.pages import Page, key, text

from headrace_chassis.addresses import host_port
from headrace_controller.signals.http import KEEP, BadAnswer, Connection, connect

PATH = f"/metrics/headrace?key={key('c1')}"


@asynccontextmanager
async def answering(answer: bytes) -> AsyncGenerator[Connection]:
    """A connection to a server that sends this and closes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        with closing(await connect(*server.sockets[0].getsockname())) as connection:
            yield connection


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 15),
    ],
    ids=lambda answer: repr(answer[-20:]),
)
async def test_what_is_no_answer_is_refused(answer: bytes) -> None:
    async with answering(answer) as connection:
        with pytest.raises(BadAnswer):
            await connection.get("/", headers=KEEP, most_bytes=100)
        assert not connection.reusable


async def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    async with answering(b"HTTP/1.0 404 Not Found\r\n\r\nnone") as connection:
        assert await connection.get("/", headers=KEEP, most_bytes=100) == (404, b"none")
        assert not connection.reusable


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_connection_serves_one_request_after_another_until_it_is_closed(loop: str) -> None:
    async def read() -> None:
        async with Page("c1").served() as page:
            with closing(await connect(*host_port(page.address))) as connection:
                for _ in range(3):
                    assert await connection.get(PATH, headers=KEEP, most_bytes=10_000) == (200, text().encode())
                    assert connection.reusable
                assert page.connections == 1
                connection.close()
                assert not connection.reusable
                with pytest.raises(ConnectionError):
                    await connection.get(PATH, headers=KEEP, most_bytes=10_000)

    with asyncio.Runner(loop_factory=pytest.importorskip(loop).new_event_loop) as runner:
        runner.run(read())
