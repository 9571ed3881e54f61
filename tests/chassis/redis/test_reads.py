"""Reads that share a connection: everybody gets what they asked for, whatever becomes of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from headrace_chassis.redis.connection import connect
from headrace_chassis.redis.reads import Reads


@pytest.fixture
async def reads(redis_url: str) -> AsyncGenerator[Reads]:
    async with connect(redis_url) as connection:
        yield Reads(connection)


async def test_each_of_many_gets_its_own_answer(redis: Redis, reads: Reads) -> None:
    for n in range(100):
        await redis.hset("many", f"f{n}", str(n))
    answers = await asyncio.gather(*(reads.ask("HGET", "many", f"f{n}") for n in range(100)))
    assert answers == [str(n).encode() for n in range(100)]
    assert await reads.ask("HMGET", "many", "f1", "nothing") == [b"1", None]


async def test_an_error_reaches_only_the_one_who_asked_wrongly(redis: Redis, reads: Reads) -> None:
    await redis.set("text", "v")
    before, wrong, after = await asyncio.gather(
        reads.ask("GET", "text"), reads.ask("HGET", "text", "f"), reads.ask("GET", "text"), return_exceptions=True
    )
    assert (before, after) == (b"v", b"v")
    assert isinstance(wrong, ResponseError)
    assert "WRONGTYPE" in str(wrong)


async def test_who_goes_away_leaves_the_others_answers_in_order(redis: Redis, reads: Reads) -> None:
    for n in range(20):
        await redis.set(f"k{n}", n)
    for turns in range(12):
        asking = [asyncio.create_task(reads.ask("GET", f"k{n}")) for n in range(20)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asking[::3]:
            task.cancel()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        stayed = [n for n in range(20) if n % 3]
        assert [answers[n] for n in stayed] == [str(n).encode() for n in stayed]


async def test_a_lost_connection_is_made_anew_without_anybody_noticing(redis: Redis, reads: Reads) -> None:
    await redis.set("k", "v")
    assert await reads.ask("GET", "k") == b"v"
    await redis.client_kill_filter(_type="normal", skipme=True)
    assert await reads.ask("GET", "k") == b"v"


async def test_redis_away_is_told_to_all_who_ask() -> None:
    async with connect("unix:///nowhere/redis.sock") as away:
        reads = Reads(away)
        answers = await asyncio.gather(*(reads.ask("GET", "k") for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [RedisConnectionError] * 3
