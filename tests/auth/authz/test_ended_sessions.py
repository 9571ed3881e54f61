"""Sessions of dashboards that were ended, and those of users who are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError
from tests.auth.api_tokens import create, revoke
from tests.auth.authz.links import opened
from tests.auth.running import Metadata, RunningAuth, failure
from tests.chassis.redis.faulty import REDIS_ERRORS, FaultyRedis, error_name
from tests.conftest import Eventually
from tests.fake_routes import FakeRoutes

from headrace import errors
from headrace.access import Access
from headrace.v1 import auth_service_pb2 as pb
from headrace_auth.api_token_secrets import ApiTokenSecrets
from headrace_auth.api_token_store import ApiTokenStore
from headrace_auth.api_tokens import ApiTokens
from headrace_auth.authenticators.base import Identity
from headrace_auth.authenticators.realms import Realm, Realms
from headrace_auth.authz.credentials import Credentials
from headrace_auth.authz.dashboard_origins import DashboardOrigins
from headrace_auth.authz.decision import Authorizer, Redirect, Refuse
from headrace_auth.authz.link_codes import LinkCodes
from headrace_auth.authz.link_users import LinkUsers
from headrace_auth.authz.request import DashboardRequest
from headrace_auth.authz.route_table import RouteTable
from headrace_auth.ended_sessions import EndedSessions
from headrace_auth.signer import LINK, SESSION, DashboardGrant, Signer
from headrace_auth.signing_keys import SigningKeys
from headrace_chassis.destinations import Destinations
from headrace_chassis.identity.caller import Caller
from headrace_chassis.identity.dashboard_keys import DashboardKeys
from headrace_chassis.identity.seal import Seal
from headrace_chassis.redis.keys import Prefix
from headrace_chassis.routes import Route, RouteChange

NOON = 1_800_000_000.0
SEAL = Seal([b"k" * 32])


@dataclass
class Directory:
    """Knows its users of now, unless it is away."""

    users: dict[str, Identity]
    away: bool = False
    before_answer: Callable[[], Awaitable[None]] | None = None

    async def find_user(self, name: str) -> Identity | None:
        if self.before_answer:
            await self.before_answer()
        if self.away:
            raise errors.StoreUnavailable("the directory does not answer")
        return self.users.get(name)


async def end_sessions(auth: RunningAuth, caller: Metadata, owner: str = "") -> None:
    await auth.stub.EndDashboardSessions(pb.EndDashboardSessionsRequest(owner=owner), metadata=caller)


@pytest.mark.parametrize("by", ["ann", "root", "a revoked token"])
async def test_sessions_and_links_from_before_are_refused_and_new_ones_open(
    auth: RunningAuth, known: FakeRoutes, ann: Metadata, root: Metadata, eventually: Eventually, by: str
) -> None:
    link = await auth.link("c1", ann)
    page = await opened(auth, link)
    assert (await auth.ask(page)).status in {200, 302}
    match by:
        case "ann":
            await end_sessions(auth, ann)
        case "root":
            await end_sessions(auth, root, "users/ann")
        case _:
            await revoke(auth, ann, (await create(auth, ann)).api_token.name)
    answer = await auth.ask(page)
    assert (answer.status, "he sessions of this user were ended" in answer.body) == (401, True)
    assert (await auth.ask(link)).status == 401

    async def opens_again() -> bool:
        return (await auth.ask(await auth.link("c1", ann))).status == 302

    await eventually(opens_again)


async def test_only_admins_end_those_of_others(auth: RunningAuth, ann: Metadata, bob: Metadata) -> None:
    assert isinstance(await failure(end_sessions(auth, bob, "users/ann")), errors.PermissionDenied)
    error = await failure(end_sessions(auth, ann, "ann"))
    assert isinstance(error, errors.InvalidRequest)
    assert [violation.field for violation in error.violations] == ["owner"]


async def test_other_replicas_learn_of_it(redis: Redis) -> None:
    now = NOON

    def replica() -> EndedSessions:
        return EndedSessions(redis, Prefix("t"), longest_seconds=3600, clock=lambda: now)

    one, other = replica(), replica()
    await other.read()
    await one.end("ann")
    await other.read()
    later = replica()
    await later.read()
    for ended in (one, other, later):
        assert ended.covers("ann", NOON - 1)
        assert not ended.covers("ann", NOON + 1)
        assert not ended.covers("bob", NOON - 1)
    now += 3600 + 1000  # whatever was issued before has expired
    await one.end("bob")
    assert await redis.zrange("{t}:auth:ended-sessions", 0, -1) == [b"bob"]


async def test_a_clock_that_is_ahead_does_not_refuse_what_is_still_to_come(redis: Redis) -> None:
    now = NOON
    await EndedSessions(redis, Prefix("t"), longest_seconds=3600, clock=lambda: NOON + 7200).end("ann")
    ended = EndedSessions(redis, Prefix("t"), longest_seconds=3600, clock=lambda: now)
    await ended.read()
    now += 10
    await ended.read()
    assert ended.covers("ann", NOON - 1)
    assert not ended.covers("ann", NOON + 5)


async def _signer(redis: Redis, clock: Callable[[], float]) -> Signer:
    keys = SigningKeys(redis, Prefix("t"), SEAL, rotation_seconds=3600, longest_token_seconds=3600, clock=clock)
    await keys.ensure()
    return Signer(keys, "t", clock)


def _credentials(redis: Redis, signer: Signer, realms: Realms, ended: EndedSessions) -> Credentials:
    tokens = ApiTokens(ApiTokenStore(redis, Prefix("t")), ApiTokenSecrets(SEAL), realms, ended)
    return Credentials(signer, tokens, LinkCodes(redis, Prefix("t"), 900), ended)


async def test_a_session_that_a_link_is_about_to_open_ends_with_it(redis: Redis) -> None:
    now = NOON
    directory = Directory({"ann": Identity("ann")})
    realms = Realms([Realm("people", "", "", directory)])
    signer = await _signer(redis, lambda: now)
    ended = EndedSessions(redis, Prefix("t"), longest_seconds=3600, clock=lambda: now)
    routes = RouteTable(Destinations((), ()))
    route = Route(cluster="c1", access=Access("ann"), dashboard_address="10.0.0.7:8787")
    routes.apply(RouteChange(version="1", snapshot=True, routes=(route,)))
    authorizer = Authorizer(
        signer=signer,
        routes=routes,
        credentials=_credentials(redis, signer, realms, ended),
        link_users=LinkUsers(realms),
        keys=DashboardKeys([b"k" * 32], "t"),
        origins=DashboardOrigins(),
        session_seconds=3600,
    )
    token, expires = signer.dashboard_token(LINK, DashboardGrant("c1", Caller("ann", method="people")), 900)
    link = await LinkCodes(redis, Prefix("t"), 900).save(token, "ann", now, expires)

    async def end() -> None:
        nonlocal now
        await ended.end("ann")
        now += 2

    directory.before_answer = end
    opening = await authorizer.decide(_get(f"/clusters/c1/status?link={link}"))
    assert isinstance(opening, Redirect)
    assert ended.covers("ann", NOON)
    refused = await authorizer.decide(_get(opening.location))
    assert isinstance(refused, Refuse)
    assert refused.status == 401


async def test_a_replica_that_has_just_started_looks_first_which_were_ended(redis: Redis) -> None:
    signer, realms = await _signer(redis, lambda: NOON), Realms([])
    session, _ = signer.dashboard_token(SESSION, DashboardGrant("c1", Caller("ann")), 3600)
    await EndedSessions(redis, Prefix("t"), longest_seconds=3600, clock=lambda: NOON).end("ann")
    started = EndedSessions(redis, Prefix("t"), longest_seconds=3600, clock=lambda: NOON + 1)
    with pytest.raises(errors.TokenRevoked):
        await _credentials(redis, signer, realms, started).session(session)
    faulty = FaultyRedis.of(redis)
    away = EndedSessions(faulty, Prefix("t"), longest_seconds=3600, clock=lambda: NOON + 1)
    with faulty.failing(REDIS_ERRORS[0]), pytest.raises(errors.StoreUnavailable):
        await _credentials(redis, signer, realms, away).session(session)


def _get(target: str) -> DashboardRequest:
    return DashboardRequest.parse("GET", "headrace.example", target, {})


@pytest.mark.parametrize("error", REDIS_ERRORS, ids=error_name)
async def test_the_loop_survives_every_error_of_redis(redis: Redis, eventually: Eventually, error: RedisError) -> None:
    faulty = FaultyRedis.of(redis)
    ended = EndedSessions(faulty, Prefix("t"), longest_seconds=3600, clock=lambda: NOON)
    await EndedSessions(redis, Prefix("t"), longest_seconds=3600, clock=lambda: NOON).end("ann")
    with faulty.failing(error) as has_failed:
        running = asyncio.create_task(ended.run())
        await eventually(has_failed)
    await eventually(lambda: ended.covers("ann", NOON) or running.done())
    assert ended.covers("ann", NOON)
    running.cancel()


async def test_a_user_who_is_removed_opens_not_even_their_own_dashboards() -> None:
    realms = Realms([Realm("people", "", "", Directory({"ann": Identity("ann")}))])
    own = Access("bob")
    with pytest.raises(errors.TokenRevoked, match="bob is no longer a user"):
        await LinkUsers(realms).visits_through(Caller("bob", method="people"), own)


async def test_while_the_users_cannot_be_asked_for_owners_go_on_and_others_do_not() -> None:
    users = LinkUsers(Realms([Realm("people", "", "", Directory({}, away=True))]))
    bob = Caller("bob", ("astro",), method="people")
    assert await users.visits_through(bob, Access("bob"))
    with pytest.raises(errors.StoreUnavailable):
        await LinkUsers(Realms([Realm("people", "", "", Directory({}, away=True))])).visits_through(bob, Access("ann"))
