"""Calls through an HTTP proxy, and the addresses that no proxy leads to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import dask.config
import pytest
from tests.client.envoy_before import EnvoyBefore
from tests.client.fake_headrace import FakeHeadrace

from headrace import TokenAuth, errors
from headrace._target.http_proxy import find_http_proxy, is_this_machine
from headrace._target.target import Target
from headrace._wire import auth_calls
from headrace._wire.connection import Connection

ELSEWHERE = "https://headrace.test"
DEAD = "http://127.0.0.1:9"


@dataclass
class ConnectProxy:
    """A proxy that connects every host name to this machine."""

    port: int = 0
    requests: list[str] = field(default_factory=list[str])
    answer: str = "200 fine"
    serving: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.append(asyncio.create_task(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):  # a client may leave at any time
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(head)
        writer.write(f"HTTP/1.1 {self.answer}\r\n\r\n".encode())
        port = int(head.split()[1].rpartition(":")[2])
        if self.answer.startswith("200"):
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(_pump(reader, other_writer), _pump(other_reader, writer))
        writer.close()
        await writer.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def proxy() -> AsyncIterator[ConnectProxy]:
    proxy = ConnectProxy()
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    yield proxy
    server.close()
    await asyncio.gather(*proxy.serving)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "http_proxy", "https_proxy", "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def _whoami(fake: FakeHeadrace, address: str) -> str:
    target = Target.resolve(address, auth=TokenAuth("ann-secret"), ca_file=str(fake.ca_file))
    connection = Connection(target)
    try:
        return (await auth_calls.whoami(connection)).name
    finally:
        await connection.close()


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "grpc_proxy"])
async def test_the_environments_proxy_leads_to_other_machines(
    fake: FakeHeadrace, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, f"http://ann:pass%20word@127.0.0.1:{proxy.port}")
    assert await _whoami(fake, f"{ELSEWHERE}:{fake.port}") == "users/ann"
    assert proxy.requests[0].startswith(f"CONNECT headrace.test:{fake.port} ")
    assert "Basic YW5uOnBhc3Mgd29yZA==" in proxy.requests[0]


async def test_an_address_with_a_path_is_reached_through_a_proxy_too(
    fake: FakeHeadrace, envoy: EnvoyBefore, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://ann:word@127.0.0.1:{proxy.port}")
    address = envoy.address.replace("127.0.0.1", "headrace.test")
    target = Target.resolve(address, auth=TokenAuth("ann-secret"), ca_file=str(envoy.ca_file))
    connection = Connection(target)
    assert (await auth_calls.whoami(connection)).name == "users/ann"
    await connection.close()
    assert proxy.requests[0].startswith("CONNECT headrace.test:")
    assert "Basic YW5uOndvcmQ=" in proxy.requests[0]
    proxy.answer = "403 not there"
    connection = Connection(target)
    with pytest.raises(errors.NotHeadrace, match=r"https_proxy.*refuses.*403 not there"):
        await auth_calls.whoami(connection)
    await connection.close()


async def test_the_setting_names_a_proxy(
    fake: FakeHeadrace, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", DEAD)
    with dask.config.set({"headrace.http-proxy": f"http://127.0.0.1:{proxy.port}"}):
        assert await _whoami(fake, f"{ELSEWHERE}:{fake.port}") == "users/ann"


async def test_nothing_on_this_machine_is_reached_through_a_proxy(
    fake: FakeHeadrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "grpc_proxy"):
        monkeypatch.setenv(name, DEAD)
    assert await _whoami(fake, fake.address) == "users/ann"
    with dask.config.set({"headrace.http-proxy": DEAD}):
        assert await _whoami(fake, f"https://localhost:{fake.port}") == "users/ann"


async def test_an_error_names_the_proxy_and_the_variable(fake: FakeHeadrace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://ann:secret@127.0.0.1:9")
    with pytest.raises(errors.NotHeadrace) as raised:
        await _whoami(fake, f"{ELSEWHERE}:1")
    message = raised.value.message
    assert "headrace.test:1 leads through the HTTP proxy 127.0.0.1:9 (the environment variable https_proxy)" in message
    assert "headrace.http-proxy" in message
    assert "secret" not in message


async def test_a_refusal_of_the_proxy_is_told(fake: FakeHeadrace, proxy: ConnectProxy) -> None:
    proxy.answer = "403 not there"
    with (
        dask.config.set({"headrace.http-proxy": f"127.0.0.1:{proxy.port}"}),
        pytest.raises(errors.NotHeadrace, match=r"the setting headrace\.http-proxy.*refuses.*403 not there"),
    ):
        await _whoami(fake, f"{ELSEWHERE}:1")


@pytest.mark.parametrize(
    ("setting", "environment"),
    [
        (False, {"https_proxy": DEAD}),
        (True, {}),
        (True, {"http_proxy": DEAD}),
        (True, {"https_proxy": DEAD, "no_proxy": "example.org"}),
        (True, {"https_proxy": "socks5://127.0.0.1:9"}),
    ],
)
def test_no_proxy(monkeypatch: pytest.MonkeyPatch, setting: bool, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with dask.config.set({"headrace.http-proxy": setting}):
        assert find_http_proxy("dask.example.org", "https") is None


@pytest.mark.parametrize("setting", ["ftp://x", "http://:80", "http://x:port", 5.5])
def test_a_wrong_setting_is_told(setting: object) -> None:
    with (
        dask.config.set({"headrace.http-proxy": setting}),
        pytest.raises(errors.InvalidRequest, match=r"headrace\.http-proxy: must be true"),
    ):
        find_http_proxy("dask.example.org", "https")


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", True),
        ("localhost", True),
        ("any.localhost", True),
        (socket.gethostname(), True),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
        ("localhost.example.org", False),
    ],
)
def test_this_machine(host: str, is_here: bool) -> None:
    assert is_this_machine(host) is is_here
