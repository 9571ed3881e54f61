"""Websockets that come by HTTP/2 (RFC 8441): Gateways speak it to the public port, and browsers may."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RemoteSettingsChanged, ResponseReceived
from h2.settings import SettingCodes
from tests.proxy.browser import TOKEN, Browser
from tests.proxy.fake_dashboard import FakeDashboard

STREAM = 1
# A frame of text, masked with zeros, and the same as a server sends it (RFC 6455).
HELLO = b"\x81\x85\x00\x00\x00\x00hello"
ANSWER = b"\x81\x05hello"


@dataclass
class Http2:
    """A connection with one stream, and what it has received."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    state: H2Connection
    status: str = ""
    data: bytes = b""
    settings: dict[int, int] = field(default_factory=dict[int, int])

    async def begin(self) -> None:
        self.state.initiate_connection()
        await self._flush()

    async def send(self, *headers: tuple[str, str]) -> None:
        self.state.send_headers(STREAM, headers)
        await self._flush()

    async def send_data(self, data: bytes) -> None:
        self.state.send_data(STREAM, data)
        await self._flush()

    async def receive(self) -> None:
        """Take in what comes next."""
        received = await self.reader.read(65_536)
        assert received, "the connection was closed"
        for event in self.state.receive_data(received):
            if isinstance(event, RemoteSettingsChanged):
                self.settings |= {int(code): each.new_value for code, each in event.changed_settings.items()}
            elif isinstance(event, ResponseReceived):
                self.status = dict(event.headers or ())[b":status"].decode()
            elif isinstance(event, DataReceived):
                self.data += event.data or b""
        await self._flush()

    async def _flush(self) -> None:
        self.writer.write(self.state.data_to_send())
        await self.writer.drain()


@asynccontextmanager
async def http2(browser: Browser) -> AsyncGenerator[Http2]:
    host, _, port = browser.public.rpartition(":")
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
    connection = Http2(reader, writer, H2Connection(H2Configuration(client_side=True)))
    try:
        await connection.begin()
        while not connection.settings:
            await connection.receive()
        yield connection
    finally:
        writer.close()
        await writer.wait_closed()


def websocket(browser: Browser, path: str) -> list[tuple[str, str]]:
    return [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", path),
        (":authority", browser.public),
        ("sec-websocket-version", "13"),
    ]


async def test_they_pass(browser: Browser, dashboard: FakeDashboard) -> None:
    async with asyncio.timeout(60), http2(browser) as connection:
        assert connection.settings[SettingCodes.ENABLE_CONNECT_PROTOCOL] == 1
        await connection.send(*websocket(browser, "/clusters/ca1/ws"), *TOKEN.items())
        while not connection.status:
            await connection.receive()
        assert connection.status == "200"
        await connection.send_data(HELLO)
        while len(connection.data) < len(ANSWER):
            await connection.receive()
        assert connection.data == ANSWER


async def test_who_has_no_right_is_refused(browser: Browser, dashboard: FakeDashboard) -> None:
    async with asyncio.timeout(60), http2(browser) as connection:
        await connection.send(*websocket(browser, "/clusters/ca1/ws"))
        while not connection.status:
            await connection.receive()
        assert connection.status == "403"


@pytest.mark.parametrize("right", [TOKEN, {}])
async def test_it_is_no_proxy_for_other_connections(
    browser: Browser, dashboard: FakeDashboard, right: dict[str, str]
) -> None:
    async with asyncio.timeout(60), http2(browser) as connection:
        await connection.send((":method", "CONNECT"), (":authority", dashboard.address), *right.items())
        while not connection.status:
            await connection.receive()
        assert connection.status == "404"
