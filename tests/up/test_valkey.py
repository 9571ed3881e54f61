from __future__ import annotations

import stat
from collections.abc import AsyncGenerator

import pytest
from redis.asyncio import Redis

from headrace_up.child import Child
from headrace_up.layout import Layout
from headrace_up.process_tags import tagged_environment
from headrace_up.valkey import valkey_part


@pytest.fixture
async def valkey(layout: Layout) -> AsyncGenerator[Child]:
    part = valkey_part(layout, tagged_environment(layout.data))
    child = Child(part, layout.logs / "valkey.log", layout.data)
    yield child
    await child.stop(within=1)


def connect(layout: Layout) -> Redis:
    return Redis(unix_socket_path=str(layout.socket("valkey")))


async def test_it_answers_when_it_is_ready(valkey: Child, layout: Layout):
    valkey.start()
    await valkey.ready()
    async with connect(layout) as redis:
        assert await redis.ping()


async def test_it_listens_on_a_private_unix_socket_only(valkey: Child, layout: Layout):
    valkey.start()
    await valkey.ready()
    async with connect(layout) as redis:
        assert (await redis.config_get("port"))["port"] == "0"
    assert stat.S_IMODE(layout.socket("valkey").stat().st_mode) == 0o600
    assert stat.S_IMODE(layout.sockets.stat().st_mode) == 0o700
    assert stat.S_IMODE(layout.valkey.stat().st_mode) == 0o700


async def test_what_it_acknowledged_survives_a_kill(valkey: Child, layout: Layout):
    valkey.start()
    await valkey.ready()
    async with connect(layout) as redis:
        for number in range(500):
            await redis.rpush("list", number)
        valkey.kill()
    await valkey.wait()
    valkey.start()
    await valkey.ready()
    async with connect(layout) as redis:
        assert await redis.llen("list") == 500


async def test_it_stops_in_order(valkey: Child, layout: Layout):
    valkey.start()
    await valkey.ready()
    await valkey.stop(within=60)
    assert await valkey.wait() == 0
