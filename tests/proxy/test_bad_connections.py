"""Broken and hostile connections to the public port."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from tests.fake_routes import FakeRoutes
from tests.proxy.browser import Browser
from tests.proxy.running_proxy import RunningProxy

from headrace_chassis.tls.certificates import Authority

HALF_A_HELLO = bytes.fromhex("16030100f8010000f40303")


@pytest.mark.parametrize("sent", [b"", HALF_A_HELLO], ids=["nothing", "half a hello"])
async def test_a_hello_that_does_not_arrive_is_given_up(
    idle_proxy: RunningProxy, controller: FakeRoutes, sent: bytes
) -> None:
    await idle_proxy.start(hello_timeout_seconds="0.5")
    assert await _answer(idle_proxy, sent) == b""


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\x00" * 64, b"SSH-2.0-x\r\n"])
async def test_what_is_not_tls_is_closed_before_any_timeout(
    idle_proxy: RunningProxy, controller: FakeRoutes, sent: bytes
) -> None:
    await idle_proxy.start(hello_timeout_seconds="60", handshake_timeout_seconds="60")
    await _answer(idle_proxy, sent)


async def test_a_handshake_that_stops_midway_is_given_up(
    idle_proxy: RunningProxy, controller: FakeRoutes, authority: Authority
) -> None:
    await idle_proxy.start(handshake_timeout_seconds="1")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cadata=authority.cert_pem.decode())
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    reader, writer = await _open(idle_proxy)
    writer.write(outgoing.read())
    async with asyncio.timeout(60):
        await reader.read()
    writer.close()


async def test_many_silent_connections_keep_nobody_out(proxy: RunningProxy, browser: Browser) -> None:
    silent = [await _open(proxy) for _ in range(300)]
    assert (await browser.get("/")).code == 404
    for _, writer in silent:
        writer.close()


async def test_an_endless_header_is_refused(browser: Browser) -> None:
    assert (await browser.get("/", {"x-long": "x" * (100 << 10)})).code == 431


async def _open(proxy: RunningProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = proxy.public.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def _answer(proxy: RunningProxy, sent: bytes) -> bytes:
    reader, writer = await _open(proxy)
    writer.write(sent)
    try:
        async with asyncio.timeout(60):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
