"""What refused tokens cost, and whom they make wait."""

from __future__ import annotations

import asyncio

import pytest

from headrace.errors import BadCredentials, TokenExpired, TooManyRequests
from headrace_auth.refused_tokens import AT_ONCE, BURST, REFUSED_SECONDS, RefusedTokens
from headrace_chassis.identity.caller import Caller

ANN = Caller("ann")


class Platform:
    """What an authenticator asks: it accepts the tokens that it knows, and counts the questions."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.good = {"good"}
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.tokens = RefusedTokens(lambda: self.now)

    async def log_in(self, token: str, source: str = "10.0.0.1", method: str = "") -> Caller:
        async def ask() -> Caller:
            self.asked += 1
            await self.answers.wait()
            if token not in self.good:
                raise BadCredentials("the API server does not accept it")
            return ANN

        return await self.tokens.check(method, token, source, ask)

    async def is_refused(self, token: str, source: str = "10.0.0.1") -> bool:
        """Whether it was refused as wrong; False if the source has to wait."""
        with pytest.raises((BadCredentials, TooManyRequests)) as caught:
            await self.log_in(token, source)
        if isinstance(caught.value, TooManyRequests):
            assert str(caught.value).startswith(f"many tokens from {source} were refused")
            assert 0 < caught.value.retry_after <= 1
            return False
        assert str(caught.value) == "the API server does not accept it"
        return True


@pytest.fixture
async def platform() -> Platform:
    return Platform()


async def test_a_refused_token_is_asked_about_once_in_a_while(platform: Platform) -> None:
    for _ in range(1000):
        assert await platform.is_refused("bad")
    assert platform.asked == 1
    platform.good.add("bad")  # such as that of a pod that the API server did not know yet
    platform.now += REFUSED_SECONDS + 1
    assert await platform.log_in("bad") is ANN


async def test_a_source_that_sends_many_wrong_tokens_waits_and_no_other(platform: Platform) -> None:
    assert await platform.log_in("good") is ANN
    outcomes = [await platform.is_refused(f"wrong {n}") for n in range(200)]
    assert outcomes == [True] * (BURST + 1) + [False] * (199 - BURST)
    assert platform.asked == BURST + 2
    assert await platform.log_in("good") is ANN, "who was logged in from the same address is not locked out"
    assert await platform.is_refused("wrong", "10.0.0.2")
    platform.good.add("new")
    with pytest.raises(TooManyRequests):
        await platform.log_in("new")
    platform.now += 2
    assert await platform.log_in("new") is ANN


async def test_a_source_that_is_quiet_has_its_burst_again(platform: Platform) -> None:
    for _ in range(3):
        assert all([await platform.is_refused(f"wrong {platform.now} {n}") for n in range(BURST)])
        platform.now += BURST


async def test_the_checks_of_one_source_at_once_are_bounded(platform: Platform) -> None:
    assert await platform.log_in("good") is ANN
    platform.answers.clear()
    waiting = [asyncio.create_task(platform.is_refused(f"wrong {n}")) for n in range(AT_ONCE)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests, match="many tokens from the same address wait"):
        await platform.log_in("one more")
    platform.answers.set()
    assert await platform.log_in("good") is ANN
    assert await platform.is_refused("wrong", "10.0.0.2")
    assert all(await asyncio.gather(*waiting))


async def test_a_token_that_is_not_good_any_more_counts_as_the_others(platform: Platform) -> None:
    assert await platform.log_in("good") is ANN
    platform.good.clear()
    for _ in range(100):
        assert await platform.is_refused("good")
    assert platform.asked == 2


async def test_other_errors_are_passed_on_and_not_kept(platform: Platform) -> None:
    async def expired() -> Caller:
        platform.asked += 1
        raise TokenExpired("read the file again")

    for _ in range(2):
        with pytest.raises(TokenExpired):
            await platform.tokens.check("", "token", "10.0.0.1", expired)
    assert platform.asked == 2
