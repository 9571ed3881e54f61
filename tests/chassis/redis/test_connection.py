"""Redis being there, away, and back."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError
from tests.chassis.redis.faulty import REDIS_ERRORS, FaultyRedis, error_name
from tests.held_port import held_ports

from headrace.errors import StoreUnavailable
from headrace_chassis.redis import keys
from headrace_chassis.redis import lua as scripts
from headrace_chassis.redis.connection import connect, ping, store_errors
from headrace_chassis.redis.keys import Prefix
from headrace_chassis.tls.certificates import Authority


async def test_redis_away_is_store_unavailable() -> None:
    away = connect("unix:///nowhere/redis.sock")
    with pytest.raises(StoreUnavailable, match="repeat it in a moment"):
        await ping(away)
    await away.aclose()


async def test_a_broken_connection_is_repaired_without_anybody_noticing(redis: Redis, redis_url: str) -> None:
    await redis.set("k", "v")
    async with connect(redis_url) as other:
        await other.client_kill_filter(_type="normal", skipme=True)
    assert await redis.get("k") == b"v"


@pytest.fixture
async def locked(redis: Redis) -> AsyncIterator[Redis]:
    """A Valkey with the user `headrace` that has the password `a/b@c`."""
    await redis.acl_setuser("headrace", enabled=True, passwords=["+a/b@c"], commands=["+ping"], keys=["*"])
    yield redis
    await redis.acl_deluser("headrace")


async def test_the_password_is_read_for_each_new_connection(locked: Redis, redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    url = redis_url.replace("://", "://headrace@")
    async with connect(url, file) as connection:
        with pytest.raises(StoreUnavailable, match=f"the password file {file} cannot be read"):
            await ping(connection)
        file.write_text("\n")
        with pytest.raises(StoreUnavailable, match=f"the password file {file} is empty"):
            await ping(connection)
        file.write_text("wrong")
        with pytest.raises(StoreUnavailable, match="invalid username-password pair"):
            await ping(connection)
        file.write_text("a/b@c\n")
        await ping(connection)
        await locked.acl_setuser("headrace", enabled=True, passwords=["-a/b@c", "+new"])
        await locked.client_kill_filter(_type="normal", skipme=True)
        file.write_text("new")
        await ping(connection)


async def test_a_password_file_without_a_user_is_for_the_default_one(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("secret\n")
    await redis.config_set("requirepass", "secret")
    try:
        async with connect(redis_url) as without:
            with pytest.raises(StoreUnavailable, match="authenticated"):
                await ping(without)
        async with connect(redis_url, file) as connection:
            await ping(connection)
    finally:
        await redis.config_set("requirepass", "")


async def test_a_loop_ends_whenever_it_is_cancelled(redis_url: str) -> None:
    async def forever() -> None:
        while True:
            await connection.ping()

    async with connect(redis_url) as connection:
        await connection.ping()
        for turns in range(60):
            loop = asyncio.create_task(forever())
            for _ in range(turns):
                await asyncio.sleep(0)
            loop.cancel()
            await asyncio.wait({loop}, timeout=30)
            assert loop.cancelled()


async def test_store_errors_work_as_a_decorator() -> None:
    @store_errors()
    async def fails() -> None:
        raise RedisConnectionError("gone")

    with pytest.raises(StoreUnavailable):
        await fails()


@pytest.mark.parametrize("error", REDIS_ERRORS, ids=error_name)
async def test_whatever_redis_answers_is_store_unavailable(redis: Redis, error: RedisError) -> None:
    faulty = FaultyRedis.of(redis)
    script = scripts.load("headrace_chassis.redis", "lease_release")
    counted = _errors()
    said = "store is full" if isinstance(error, OutOfMemoryError) else "repeat it in a moment"
    with faulty.failing(error):
        for call in (ping(faulty), script(faulty, ["k"], ["a"])):
            with pytest.raises(StoreUnavailable, match=said):
                await call
    assert _errors() == counted + 2


def _errors() -> float:
    return REGISTRY.get_sample_value("headrace_redis_errors_total") or 0.0


async def test_a_script_that_meets_another_type_is_store_unavailable(redis: Redis) -> None:
    await redis.set("k", "a string")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        await scripts.load("headrace_chassis.redis", "lease_release")(redis, ["k"], ["a"])


async def test_our_own_faults_are_not_taken_for_redis() -> None:
    with pytest.raises(KeyError), store_errors():
        raise KeyError("a fault of ours")


async def test_a_script_runs_also_where_it_is_not_loaded(redis: Redis) -> None:
    script = scripts.load("headrace_chassis.redis", "lease_release")
    await redis.script_flush()
    prefix = Prefix("t")
    arguments = [keys.lease_replicas(prefix), keys.lease(prefix, 0)]
    assert await script(redis, arguments, ["a"]) == 0
    assert await script(redis, arguments, ["a"]) == 0


def test_each_script_says_its_keys_and_arguments() -> None:
    for package in ("headrace_chassis.redis", "headrace_auth"):
        for file in (files(package) / "scripts").iterdir():
            head = file.read_text().split("\n\n")[0]
            assert "-- KEYS 1" in head, file.name
            assert "ARGV" in head, file.name


def test_all_keys_of_a_deployment_share_prefix_and_slot() -> None:
    prefix = Prefix("prod")
    assert keys.lease(prefix, 3) == "{prod}:lease:3" == prefix + "lease:3"


class TlsRedis:
    """TLS before a Valkey on a unix socket, with a certificate from an authority that a test chooses."""

    def __init__(self, unix_path: str, directory: Path, port: int) -> None:
        self.ca_file = directory / "store-ca.crt"
        self._unix_path = unix_path
        self._pair = directory / "store.pem"
        self._port = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"rediss://127.0.0.1:{self._port}/0?ssl_ca_certs={self.ca_file}"

    async def start(self, authority: Authority) -> None:
        """Listen, again if need be; the authority's certificate is in `ca_file` from now on."""
        leaf = authority.issue("store", timedelta(hours=1), ip_addresses=["127.0.0.1"])
        self._pair.write_bytes(leaf.cert_pem + leaf.key_pem)
        self.ca_file.write_bytes(authority.cert_pem)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._pair)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, ssl=context)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        store_reader, store_writer = await asyncio.open_unix_connection(self._unix_path)
        self._open |= {writer, store_writer}
        await asyncio.gather(_copy(reader, store_writer), _copy(store_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while content := await reader.read(4096):
            writer.write(content)
    writer.close()


async def test_a_renewed_authority_needs_no_restart(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    with held_ports(1) as [port]:
        store = TlsRedis(urlsplit(redis_url).path, tmp_path, port)
        await store.start(Authority.create("store", timedelta(hours=1)))
        async with connect(store.url) as connection:
            await connection.set("k", "v")
            await store.stop()
            await store.start(Authority.create("store, later", timedelta(hours=1)))
            assert await connection.get("k") == b"v"
        await store.stop()
