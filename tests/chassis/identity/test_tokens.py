"""Access tokens, verified with published keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import jwt
import pytest
from tests.chassis.running import Signing

from headrace.errors import StoreUnavailable, TokenExpired, TokenInvalid
from headrace_chassis.identity import tokens
from headrace_chassis.identity.caller import Caller
from headrace_chassis.identity.tokens import TokenVerifier


class Published:
    """A source of keys that counts how often it is asked."""

    def __init__(self, *keys: Signing) -> None:
        self.keys = list(keys)
        self.asked = 0
        self.first_asked = asyncio.Event()
        self.away = False
        self.late: list[asyncio.Event] = []  # the next answers, as they are now, come when these are set

    async def __call__(self) -> Mapping[str, jwt.PyJWK]:
        self.asked += 1
        self.first_asked.set()
        if self.away:
            raise ConnectionError("auth is away")
        answer = {key.key_id: key.public for key in self.keys}
        if self.late:
            await self.late.pop(0).wait()
        return answer


@pytest.fixture
def signing() -> Signing:
    return Signing()


async def test_a_token_becomes_the_caller(signing: Signing) -> None:
    verifier = TokenVerifier(Published(signing), "headrace")
    caller = await verifier.verify(signing.token("ann", roles=("user", "admin")))
    assert caller == Caller("ann", ("astro",), frozenset({"user", "admin"}), "password")
    assert caller.is_admin


async def test_a_signature_is_checked_once_and_the_keys_are_asked_for_once(signing: Signing) -> None:
    source = Published(signing)
    verifier = TokenVerifier(source, "headrace")
    token = signing.token()
    assert await verifier.verify(token) is await verifier.verify(token)
    assert source.asked == 1


async def test_a_cached_token_still_expires(signing: Signing) -> None:
    now = time.time()
    verifier = TokenVerifier(Published(signing), "headrace", clock=lambda: now)
    token = signing.token(seconds=30)
    await verifier.verify(token)
    now += 60
    with pytest.raises(TokenExpired, match="log in again"):
        await verifier.verify(token)


@pytest.mark.parametrize(
    "claims", [{"iss": "another"}, {"aud": "dashboard"}, {"sub": None}, {"exp": "soon"}, {"groups": 7}]
)
async def test_claims_of_something_else_are_refused(signing: Signing, claims: dict[str, object]) -> None:
    verifier = TokenVerifier(Published(signing), "headrace")
    with pytest.raises(TokenInvalid):
        await verifier.verify(signing.token(**claims))  # type: ignore[arg-type]


@pytest.mark.parametrize("token", ["", "abc", "a.b.c", "é", "x" * 10_000])
async def test_garbage_is_refused(signing: Signing, token: str) -> None:
    with pytest.raises(TokenInvalid):
        await TokenVerifier(Published(signing), "headrace").verify(token)


async def test_an_unsigned_token_and_one_signed_with_a_public_key_are_refused(signing: Signing) -> None:
    verifier = TokenVerifier(Published(signing), "headrace")
    claims = {"sub": "eve", "iss": "headrace", "aud": "headrace", "exp": int(time.time()) + 60}
    for forged in (
        jwt.encode(claims, "", "none", headers={"kid": "k1"}),
        jwt.encode(claims, "k" * 32, "HS256", headers={"kid": "k1"}),
        Signing("k1").token("eve"),
    ):
        with pytest.raises(TokenInvalid):
            await verifier.verify(forged)


async def test_a_new_key_is_fetched_when_a_token_comes_with_it(
    signing: Signing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MIN_REFRESH_SECONDS", 0)
    source = Published(signing)
    verifier = TokenVerifier(source, "headrace")
    await verifier.verify(signing.token())
    newer = Signing("k2")
    source.keys.append(newer)
    assert (await verifier.verify(newer.token("bob"))).user == "bob"


async def test_invented_key_ids_do_not_hammer_auth(signing: Signing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MIN_REFRESH_SECONDS", 600)  # the keys of this test take time
    source = Published(signing)
    verifier = TokenVerifier(source, "headrace")
    await verifier.verify(signing.token())
    for number in range(20):
        with pytest.raises(TokenInvalid):
            await verifier.verify(Signing(f"invented-{number}").token())
    assert source.asked == 1


async def test_a_call_that_is_cancelled_while_it_reads_leaves_the_keys_to_the_next(signing: Signing) -> None:
    source = Published(signing)
    verifier = TokenVerifier(source, "headrace")
    source.late.append(asyncio.Event())
    cancelled = asyncio.create_task(verifier.verify(signing.token()))
    waiting = asyncio.create_task(verifier.verify(signing.token("bob")))
    await source.first_asked.wait()
    cancelled.cancel()
    assert (await waiting).user == "bob"


async def test_a_late_answer_withdraws_no_key_that_came_after_it_was_written(signing: Signing) -> None:
    source, newer, late = Published(signing), Signing("k2"), asyncio.Event()
    verifier = TokenVerifier(source, "headrace")
    source.late.append(late)
    running = asyncio.create_task(verifier.run())
    await source.first_asked.wait()
    source.keys.append(newer)
    first = asyncio.create_task(verifier.verify(newer.token("ann")))
    await asyncio.wait([first], timeout=0.1)
    late.set()
    assert (await first).user == "ann"
    for _ in range(10):
        await asyncio.sleep(0)
    assert (await verifier.verify(newer.token("bob"))).user == "bob"
    running.cancel()


async def test_with_auth_away_known_keys_go_on_and_unknown_ones_are_worth_repeating(
    signing: Signing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MIN_REFRESH_SECONDS", 0)
    source = Published(signing)
    verifier = TokenVerifier(source, "headrace")
    await verifier.verify(signing.token("ann"))
    source.away = True
    assert (await verifier.verify(signing.token("bob"))).user == "bob"
    with pytest.raises(StoreUnavailable, match="auth does not answer"):
        await verifier.verify(Signing("k2").token())


async def test_a_withdrawn_key_verifies_nothing_any_more(signing: Signing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MIN_REFRESH_SECONDS", 0)
    source = Published(signing)
    verifier = TokenVerifier(source, "headrace")
    token = signing.token()
    await verifier.verify(token)
    source.keys = [Signing("k2")]
    await verifier.verify(source.keys[0].token())
    with pytest.raises(TokenInvalid):
        await verifier.verify(token)
