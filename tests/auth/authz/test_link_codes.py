"""Codes of dashboard links: short, for one browser, for minutes."""

from __future__ import annotations

import asyncio
import re
from http.cookies import SimpleCookie

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError
from tests.auth.authz.links import opened
from tests.auth.running import Metadata, RunningAuth
from tests.chassis.redis.faulty import REDIS_ERRORS, FaultyRedis, error_name
from tests.fake_routes import FakeRoutes

from headrace.errors import StoreUnavailable, TokenExpired
from headrace_auth.authz import link_codes
from headrace_auth.authz.link_codes import LinkCodes, LinkUsed
from headrace_chassis.redis.keys import Prefix

NOON = 1_800_000_000.0
LAPTOP = {"user_agent": "Firefox", "x_forwarded_for": "192.0.2.1"}
ELSEWHERE = [
    {"user_agent": "Chromium", "x_forwarded_for": "192.0.2.1"},
    {"user_agent": "Firefox", "x_forwarded_for": "192.0.2.9"},
    {"user_agent": "Firefox", "x_forwarded_for": "192.0.2.1, 192.0.2.9"},
    {},
]


@pytest.fixture
def codes(redis: Redis) -> LinkCodes:
    return LinkCodes(redis, Prefix("t"), 900)


async def test_a_link_is_a_short_code_that_readers_of_the_store_do_not_find(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata, redis: Redis
) -> None:
    link = await auth.link("c1", ann)
    assert re.fullmatch(r"/clusters/c1/status\?link=[\w-]{24}", link)
    code = link.partition("link=")[2]
    (name,) = await redis.keys("*:auth:link:*")
    assert code not in f"{name!r} {await redis.hgetall(name)!r}"
    assert 0 < await redis.ttl(name) <= 900


@pytest.mark.parametrize("other", ELSEWHERE)
async def test_a_link_opens_in_one_browser_and_says_in_another_what_to_type(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata, monkeypatch: pytest.MonkeyPatch, other: dict[str, str]
) -> None:
    monkeypatch.setattr(link_codes, "REPEAT_SECONDS", 600)
    link = await auth.link("c1", ann)
    for _ in range(2):  # a double click
        assert (await auth.ask(link, **LAPTOP)).status == 302
    refused = await auth.ask(link, accept="text/html", **other)
    assert refused.status == 401
    assert "<h1>This link was opened before</h1>" in refused.body
    for command in ("cluster.dashboard_link", "headrace clusters open c1", "headrace logout --everywhere"):
        assert f"<code>{command}</code>" in refused.body
    assert (await auth.ask(link, **LAPTOP)).status == 302


async def test_a_browser_with_a_session_needs_no_link(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_codes, "REPEAT_SECONDS", 0)
    link = await auth.link("c1", ann, "workers")
    answer = await auth.ask(link, **LAPTOP)
    ((name, session),) = SimpleCookie(answer.headers["set-cookie"]).items()
    assert (await auth.ask(link, **LAPTOP)).status == 401
    cookie = f"{name}={session.value}"
    for stale in (link, link[:-24] + "A" * 24):  # a notebook that is opened again shows it
        again = await auth.ask(stale, cookie=cookie, **LAPTOP)
        assert (again.status, again.headers["location"]) == (302, f"/clusters/c1/~{session.value}/workers")


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"sec_purpose": "prefetch"}),
        ("GET", {"sec_purpose": "prefetch;prerender"}),
        ("GET", {"purpose": "prefetch"}),
        ("GET", {"x_purpose": "preview"}),
        ("HEAD", {}),
        ("OPTIONS", {}),
    ],
)
async def test_what_looks_at_links_early_does_not_use_them_up(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata, method: str, headers: dict[str, str]
) -> None:
    link = await auth.link("c1", ann)
    assert (await auth.ask(link, method, user_agent="crawler", **headers)).status == 401
    assert await opened(auth, link)


async def test_of_many_browsers_and_replicas_one_gets_in(codes: LinkCodes, redis: Redis) -> None:
    code = await codes.save("token", "ann", NOON, NOON + 900)
    other = LinkCodes(redis, Prefix("t"), 900)
    exchanges = ((codes, other)[n % 2].exchange(code, f"browser {n}") for n in range(20))
    answers = await asyncio.gather(*exchanges, return_exceptions=True)
    assert [answer for answer in answers if not isinstance(answer, LinkUsed)] == ["token"]


@pytest.mark.parametrize("code", ["", "x", "A" * 24, "A" * 23 + "\n", "*" * 24, "A" * 5000])
async def test_what_is_no_code_is_like_one_that_has_expired(codes: LinkCodes, code: str) -> None:
    await codes.save("token", "ann", NOON, NOON + 900)
    with pytest.raises(TokenExpired):
        await codes.exchange(code, "browser")


async def test_the_oldest_links_of_one_user_make_room_and_those_of_others_stay(
    codes: LinkCodes, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_codes, "MAX_LINKS", 3)
    others = await codes.save("bob's", "bob", NOON, NOON + 900)
    made = [await codes.save(f"ann's {n}", "ann", NOON + n, NOON + n + 900) for n in range(8)]
    for code in made[:-3]:
        with pytest.raises(TokenExpired):
            await codes.exchange(code, "browser")
    assert [await codes.exchange(code, "browser") for code in made[-3:]] == ["ann's 5", "ann's 6", "ann's 7"]
    assert await codes.exchange(others, "browser") == "bob's"
    assert await redis.zcard("{t}:auth:links:ann") == 3
    assert 0 < await redis.ttl("{t}:auth:links:ann") <= 900


@pytest.mark.parametrize("error", REDIS_ERRORS, ids=error_name)
async def test_a_fault_of_the_store_uses_no_link_up(redis: Redis, codes: LinkCodes, error: RedisError) -> None:
    code = await codes.save("token", "ann", NOON, NOON + 900)
    faulty = FaultyRedis.of(redis)
    with faulty.failing(error), pytest.raises(StoreUnavailable):
        await LinkCodes(faulty, Prefix("t"), 900).exchange(code, "browser")
    assert await codes.exchange(code, "other") == "token"
