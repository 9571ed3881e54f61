"""Signing keys: made, shared, replaced, kept."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError
from tests.auth.running import RunningAuth, running_auth
from tests.chassis.redis.faulty import REDIS_ERRORS, FaultyRedis, error_name
from tests.conftest import Eventually

from headrace.errors import StoreUnavailable, TokenExpired, TokenInvalid
from headrace.v1 import auth_service_pb2 as pb
from headrace_auth.config import AuthSettings
from headrace_auth.keys import signing_keys
from headrace_auth.signer import LINK, SESSION, DashboardGrant, Signer, UnknownKey
from headrace_auth.signing_keys import SigningKeys
from headrace_chassis.identity.caller import Caller
from headrace_chassis.identity.seal import DeploymentKeyError, Seal, read_deployment_keys
from headrace_chassis.redis.connection import connect
from headrace_chassis.redis.keys import Prefix

SEAL = Seal([b"k" * 32])
DAY, HOUR = 86_400.0, 3600.0
ANN = Caller("ann", ("astro",), frozenset({"user"}), "password")


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def replica(redis: Redis, clock: Clock, seal: Seal = SEAL) -> SigningKeys:
    return SigningKeys(redis, Prefix("t"), seal, rotation_seconds=DAY, longest_token_seconds=HOUR, clock=clock)


def signer(keys: SigningKeys, clock: Clock) -> Signer:
    return Signer(keys, "t", clock)


async def test_replicas_that_start_at_once_agree_on_one_key(redis: Redis, clock: Clock) -> None:
    replicas = [replica(redis, clock) for _ in range(5)]
    await asyncio.gather(*(keys.ensure() for keys in replicas))
    assert len({keys.newest().key_id for keys in replicas}) == 1


async def test_one_replicas_token_is_read_by_the_other(redis: Redis, clock: Clock) -> None:
    a, b = replica(redis, clock), replica(redis, clock)
    await a.ensure()
    token, _ = signer(a, clock).access_token(ANN, 60)
    with pytest.raises(UnknownKey):
        signer(b, clock).read_access_token(token)
    await b.refresh()
    assert signer(b, clock).read_access_token(token) == ANN


async def test_a_replaced_key_verifies_as_long_as_tokens_live(redis: Redis, clock: Clock) -> None:
    keys = replica(redis, clock)
    await keys.ensure()
    first = keys.newest().key_id
    clock.now += DAY - 1
    await keys.ensure()
    assert keys.newest().key_id == first
    token, expires = signer(keys, clock).access_token(ANN, HOUR)
    clock.now += 2
    await keys.ensure()
    assert keys.newest().key_id != first
    assert [key.key_id for key in keys.valid][-1] == first
    clock.now = expires - 1
    assert signer(keys, clock).read_access_token(token) == ANN
    clock.now = expires
    with pytest.raises(TokenExpired):
        signer(keys, clock).read_access_token(token)
    clock.now += 300
    await keys.ensure()
    assert first not in {key.key_id for key in keys.valid}


async def test_with_the_store_emptied_the_keys_at_hand_go_back_into_it(redis: Redis, clock: Clock) -> None:
    keys = replica(redis, clock)
    await keys.ensure()
    await redis.flushall()
    await keys.ensure()
    other = replica(redis, clock)
    await other.ensure()
    assert other.newest().key_id == keys.newest().key_id


async def test_a_running_service_puts_them_back_soon(auth: RunningAuth, redis: Redis, eventually: Eventually) -> None:
    before = (await auth.stub.ListSigningKeys(pb.ListSigningKeysRequest())).signing_keys[0].key_id
    await redis.flushall()
    await eventually(lambda: redis.exists(KEY))
    keys = SigningKeys(
        redis,
        Prefix("headrace"),
        Seal(read_deployment_keys(auth.settings.deployment_key_file)),
        rotation_seconds=DAY,
        longest_token_seconds=HOUR,
    )
    await keys.reload()
    assert keys.newest().key_id == before


KEY = signing_keys(Prefix("headrace"))


@pytest.mark.parametrize("error", REDIS_ERRORS, ids=error_name)
async def test_the_loop_survives_every_error_of_redis(
    redis: Redis, clock: Clock, eventually: Eventually, error: RedisError
) -> None:
    faulty = FaultyRedis.of(redis)
    keys = replica(faulty, clock)
    with faulty.failing(error) as has_failed:
        running = asyncio.create_task(keys.run())
        await eventually(has_failed)
    await eventually(lambda: keys.valid or running.done())
    assert keys.newest()
    running.cancel()


async def spoil(redis: Redis) -> None:
    """Has Redis refuse to read the keys."""
    await redis.set(KEY, "a string")
    await redis.config_resetstat()


async def has_refused(redis: Redis) -> bool:
    return "errorstat_WRONGTYPE" in await redis.info("errorstats")


async def test_a_running_service_survives_that_redis_refuses(
    auth: RunningAuth, redis: Redis, eventually: Eventually
) -> None:
    await spoil(redis)
    await eventually(lambda: has_refused(redis))
    assert await auth.login("ann", "ann's")
    await redis.delete(KEY)
    await eventually(lambda: redis.exists(KEY))


async def test_a_service_that_starts_meanwhile_serves_afterwards(
    settings: AuthSettings, redis: Redis, eventually: Eventually
) -> None:
    await spoil(redis)
    async with AsyncExitStack() as stack:
        starting = asyncio.create_task(stack.enter_async_context(running_auth(settings)))
        await eventually(lambda: has_refused(redis))
        await redis.delete(KEY)
        auth = await starting
        assert await auth.login("ann", "ann's")


async def test_a_damaged_entry_is_replaced(redis: Redis, clock: Clock) -> None:
    await redis.hset(signing_keys(Prefix("t")), "revision", "of nothing")
    keys = replica(redis, clock)
    async with asyncio.timeout(60):
        await keys.ensure()
    other = replica(redis, clock)
    await other.ensure()
    assert other.newest() == keys.newest()


async def test_what_a_newer_release_adds_to_a_key_is_left_out(redis: Redis, clock: Clock) -> None:
    keys = replica(redis, clock)
    await keys.ensure()
    newer = {**asdict(keys.newest()), "curve": "P-521"}
    await redis.hset(
        signing_keys(Prefix("t")),
        mapping={"revision": "newer", "sealed": SEAL.seal(json.dumps([newer]).encode())},
    )
    other = replica(redis, clock)
    await other.ensure()
    assert other.newest() == keys.newest()


async def test_private_keys_lie_sealed_in_the_store(redis: Redis, clock: Clock) -> None:
    await replica(redis, clock).ensure()
    (key,) = await redis.keys("*")
    assert b"PRIVATE" not in cast("bytes", await redis.dump(key))
    with pytest.raises(DeploymentKeyError):
        await replica(redis, clock, Seal([b"x" * 32])).ensure()


async def test_with_the_store_away_known_keys_sign_on(redis: Redis, clock: Clock) -> None:
    away = connect("unix:///nowhere.sock")
    with pytest.raises(StoreUnavailable):
        await replica(away, clock).refresh()
    with pytest.raises(StoreUnavailable):
        replica(away, clock).newest()
    await away.aclose()


async def test_another_deployments_tokens_are_refused(redis: Redis, clock: Clock) -> None:
    keys = replica(redis, clock)
    await keys.ensure()
    token, _ = Signer(keys, "other", clock).access_token(ANN, 60)
    with pytest.raises(TokenInvalid):
        signer(keys, clock).read_access_token(token)


async def test_two_running_replicas_take_each_others_tokens_and_publish_the_same_keys(
    settings: AuthSettings, directory: Path
) -> None:
    sockets = {"listen": f"unix:{directory}/auth2.sock", "internal_listen": f"unix:{directory}/internal2.sock"}
    async with running_auth(settings) as one, running_auth(settings.model_copy(update=sockets)) as two:
        ann = await one.login("ann", "ann's")
        assert (await two.stub.WhoAmI(pb.WhoAmIRequest(), metadata=ann)).name == "users/ann"
        answers = [await auth.stub.ListSigningKeys(pb.ListSigningKeysRequest()) for auth in (one, two)]
        assert answers[0] == answers[1]
        assert "PRIVATE" not in str(answers[0])
        assert '"d"' not in answers[0].signing_keys[0].jwk_json


async def test_what_is_issued_ends_with_the_credential_that_the_user_came_with(redis: Redis, clock: Clock) -> None:
    keys = replica(redis, clock)
    await keys.ensure()
    signed, ends = signer(keys, clock), clock.now + 20
    token, expires = signed.access_token(replace(ANN, ends=ends), HOUR)
    assert (expires, signed.read_access_token(token).ends) == (ends, ends)
    link, _ = signed.dashboard_token(LINK, DashboardGrant("c1", signed.read_access_token(token)), HOUR)
    _, expires = signed.dashboard_token(SESSION, signed.read_dashboard_token(link, LINK), HOUR)
    assert expires == ends
