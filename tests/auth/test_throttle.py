"""Attempts to log in: counted by user name and source, and queued for a short while only."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from argon2 import PasswordHasher
from redis.asyncio import Redis
from tests.auth.running import RunningAuth, failure

from headrace import errors
from headrace_auth.authenticators.users_file import UserRecord, write_users
from headrace_auth.keys import attempts
from headrace_auth.login_queue import PLACES, PLACES_OF_SOURCE, LoginQueue
from headrace_auth.throttle import ATTEMPTS, ATTEMPTS_OF_STRANGERS, WINDOW_SECONDS, Throttle
from headrace_chassis.redis.keys import Prefix

HOME, AWAY = "203.0.113.1", "198.51.100.1"


@pytest.fixture
def throttle(redis: Redis) -> Throttle:
    return Throttle(redis, Prefix("t"))


async def use_up(throttle: Throttle, source: str, name: str = "ann") -> None:
    for _ in range(ATTEMPTS):
        await throttle.attempt(name, source)


async def is_refused(throttle: Throttle, source: str, name: str = "ann") -> bool:
    try:
        await throttle.attempt(name, source)
    except errors.BadCredentials as error:
        return 0 < int(error.details["retry_after_seconds"]) <= 60
    return False


async def test_a_stranger_cannot_lock_a_user_out(auth: RunningAuth) -> None:
    for _ in range(2 * ATTEMPTS):
        await failure(auth.login("ann", "wrong", source=AWAY))
    assert "too many failed logins" in str(await failure(auth.login("ann", "ann's", source=AWAY)))
    await auth.login("ann", "ann's", source=HOME)


async def test_many_strangers_are_slowed_and_lock_only_strangers_out(throttle: Throttle) -> None:
    await throttle.succeeded("ann", HOME)
    for n in range(ATTEMPTS_OF_STRANGERS // ATTEMPTS):
        await use_up(throttle, f"10.0.0.{n}")
    assert await is_refused(throttle, AWAY)
    assert not await is_refused(throttle, HOME)
    assert not await is_refused(throttle, AWAY, "bob")


async def test_one_stranger_who_goes_on_uses_up_nothing_of_others(throttle: Throttle) -> None:
    await use_up(throttle, AWAY)
    for _ in range(ATTEMPTS_OF_STRANGERS):
        assert await is_refused(throttle, AWAY)
    assert not await is_refused(throttle, HOME)


@pytest.mark.parametrize("spelling", ["Ann", " ann ", "\uff41nn"])
async def test_names_that_an_authenticator_may_take_for_one_count_as_one(throttle: Throttle, spelling: str) -> None:
    await use_up(throttle, HOME)
    assert await is_refused(throttle, HOME, spelling)


async def test_a_login_gives_its_source_all_attempts_back(throttle: Throttle) -> None:
    await use_up(throttle, HOME)
    await throttle.succeeded("ann", HOME)
    await use_up(throttle, HOME)
    assert await is_refused(throttle, HOME)


@pytest.mark.parametrize("expiry", [7200, None])
async def test_attempts_do_not_count_for_longer_after_the_clock_of_redis_was_set_back(
    throttle: Throttle, redis: Redis, expiry: int | None
) -> None:
    counter = attempts(throttle.prefix, "ann", HOME)
    await redis.set(counter, ATTEMPTS, ex=expiry)
    assert await is_refused(throttle, HOME)
    assert 0 < await redis.ttl(counter) <= WINDOW_SECONDS


def test_a_source_holds_some_places_only() -> None:
    queue = LoginQueue()
    with ExitStack() as held:
        for _ in range(PLACES_OF_SOURCE):
            held.enter_context(queue.place(AWAY))
        with pytest.raises(errors.TooManyRequests, match="repeat it in 2"), queue.place(AWAY):
            pass
        with queue.place(HOME):
            pass
    with queue.place(AWAY):
        pass


def test_the_places_are_few() -> None:
    queue = LoginQueue()
    with ExitStack() as held:
        for n in range(PLACES):
            held.enter_context(queue.place(f"10.0.0.{n}"))
        with pytest.raises(errors.TooManyRequests), queue.place(HOME):
            pass


async def test_a_flood_of_made_up_names_is_refused_and_another_source_logs_in(
    auth: RunningAuth, users_file: Path
) -> None:
    write_users(users_file, {"ann": UserRecord("ann", PasswordHasher().hash("ann's"))})
    flood = [asyncio.ensure_future(auth.login(f"made-up-{n}", "x", source=AWAY)) for n in range(150)]
    await auth.login("ann", "ann's", source=HOME)
    answers = await asyncio.gather(*flood, return_exceptions=True)
    codes = {one.code() for one in answers if isinstance(one, grpc.aio.AioRpcError)}
    assert codes == {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED}
