"""The kept connection: one command after another, through lost connections and cancellations."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from headrace_chassis.redis.connection import connect
from headrace_controller.store.kept_connection import KeptConnection


async def test_answers_come_as_bytes(redis: Redis) -> None:
    await redis.set("a", "1")
    kept = KeptConnection(redis)
    assert [await kept.ask("GET", "a"), await kept.ask("GET", "b")] == [b"1", None]


async def test_a_lost_connection_is_made_again(redis: Redis) -> None:
    await redis.set("a", "1")
    kept = KeptConnection(redis)
    assert await kept.ask("GET", "a") == b"1"
    await redis.client_kill_filter(_type="normal", skipme=True)
    assert await kept.ask("GET", "a") == b"1"


async def test_the_answer_to_a_cancelled_command_is_not_taken_for_that_of_the_next(redis: Redis) -> None:
    kept = KeptConnection(redis)
    await kept.ask("GET", "a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await kept.ask("BLPOP", "list", "60")
    await redis.rpush("list", "1")  # now it is answered
    assert await kept.ask("GET", "b") is None


async def test_failures_are_those_of_redis(redis: Redis, tmp_path: Path) -> None:
    await redis.lpush("list", "1")
    kept = KeptConnection(redis)
    with pytest.raises(ResponseError):
        await kept.ask("GET", "list")
    async with connect(f"unix://{tmp_path}/none?db=0") as away:
        with pytest.raises(RedisConnectionError):
            await KeptConnection(away).ask("GET", "a")
