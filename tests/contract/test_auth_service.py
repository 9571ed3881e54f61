"""AuthService: logging in, API tokens and dashboard links."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from redis.asyncio import Redis
from tests.conftest import Eventually
from tests.contract import auth_servers
from tests.contract.auth_servers import AuthServer, Metadata, bearer
from tests.controller.errors_of import fails, wrong_fields

from headrace.errors import (
    ApiTokenNotFound,
    BadCredentials,
    ClusterNotFound,
    PermissionDenied,
    TokenInvalid,
    TokenRevoked,
)
from headrace.v1 import auth_service_pb2 as pb

Password, Token = pb.PasswordCredential, pb.TokenCredential


@pytest.fixture(params=["real", "fake"])
async def auth(
    request: pytest.FixtureRequest, directory: Path, redis_url: str, redis: Redis
) -> AsyncIterator[AuthServer]:
    _ = redis  # flushed
    async with AsyncExitStack() as stack:
        if request.param == "real":
            yield await auth_servers.real(stack, directory, redis_url)
        else:
            yield await auth_servers.fake(stack, directory)


@pytest.fixture
async def ann(auth: AuthServer) -> Metadata:
    return await auth.log_in("ann")


@pytest.fixture
async def bob(auth: AuthServer) -> Metadata:
    return await auth.log_in("bob")


# GetServerInfo, Login, WhoAmI


async def test_before_a_login_one_learns_how_to_log_in(auth: AuthServer) -> None:
    info = await auth.call("GetServerInfo", pb.GetServerInfoRequest())
    assert info.version
    assert [(one.method, one.credential_kind) for one in info.login_methods] == [
        ("api-token", pb.CREDENTIAL_KIND_TOKEN),
        ("password", pb.CREDENTIAL_KIND_PASSWORD),
    ]
    assert all(method.label for method in info.login_methods)
    assert set(info.features) == {pb.FEATURE_API_TOKENS, pb.FEATURE_DASHBOARD_LINKS}


@pytest.mark.parametrize("method", ["", "password"])
async def test_a_login_answers_who_the_user_is_and_until_when(auth: AuthServer, method: str) -> None:
    credential = Password(username="ann", password="ann sesame")
    answer = await auth.call("Login", pb.LoginRequest(method=method, password=credential))
    who = await auth.call("WhoAmI", pb.WhoAmIRequest(), bearer(answer))
    expected = pb.User(name="users/ann", groups=["groups/people"], roles=[pb.ROLE_USER], method="password")
    assert who == answer.user == expected
    assert answer.expire_time.seconds > time.time()


@pytest.mark.parametrize(
    "request_",
    [
        pb.LoginRequest(password=Password(username="ann", password="wrong")),
        pb.LoginRequest(password=Password(username="nobody", password="x")),
        pb.LoginRequest(token=Token(token="guessed")),
    ],
)
async def test_a_wrong_credential_is_refused(auth: AuthServer, request_: pb.LoginRequest) -> None:
    await fails(BadCredentials, auth.call("Login", request_))


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.LoginRequest(), "credential"),
        (pb.LoginRequest(password=Password(password="x")), "password.username"),
        (pb.LoginRequest(password=Password(username="x" * 257)), "password.username"),
        (pb.LoginRequest(password=Password(username="x", password="x" * 1025)), "password.password"),
        (pb.LoginRequest(token=Token(token="x" * 8193)), "token.token"),
        (pb.LoginRequest(method="kerberos", token=Token(token="x")), "method"),
        (pb.LoginRequest(method="password", token=Token(token="x")), "method"),
    ],
)
async def test_a_malformed_login_names_the_field(auth: AuthServer, request_: pb.LoginRequest, field: str) -> None:
    assert await wrong_fields(auth.call("Login", request_)) == {field}


@pytest.mark.parametrize("caller", [(), (("authorization", "Bearer forged"),)])
@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("WhoAmI", pb.WhoAmIRequest()),
        ("CreateApiToken", pb.CreateApiTokenRequest()),
        ("ListApiTokens", pb.ListApiTokensRequest()),
        ("DeleteApiToken", pb.DeleteApiTokenRequest(name="apiTokens/t1")),
        ("CreateDashboardLink", pb.CreateDashboardLinkRequest(name="clusters/c1")),
        ("EndDashboardSessions", pb.EndDashboardSessionsRequest()),
    ],
)
async def test_without_a_token_nothing_is_answered(
    auth: AuthServer, caller: Metadata, method: str, request_: Any
) -> None:
    await fails(TokenInvalid, auth.call(method, request_, caller))


# API tokens


async def create(auth: AuthServer, caller: Metadata, **fields: Any) -> pb.CreateApiTokenResponse:
    return await auth.call("CreateApiToken", pb.CreateApiTokenRequest(api_token=pb.ApiToken(**fields)), caller)


async def listed(auth: AuthServer, caller: Metadata) -> list[pb.ApiToken]:
    """All pages."""
    request, found = pb.ListApiTokensRequest(page_size=2), list[pb.ApiToken]()
    while True:
        answer = await auth.call("ListApiTokens", request, caller)
        assert len(answer.api_tokens) <= 2
        found += answer.api_tokens
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


async def delete(auth: AuthServer, caller: Metadata, name: str) -> None:
    await auth.call("DeleteApiToken", pb.DeleteApiTokenRequest(name=name), caller)


async def test_only_note_roles_and_time_of_a_new_token_are_read(auth: AuthServer, ann: Metadata) -> None:
    made = (await create(auth, ann, name="apiTokens/mine", owner="users/bob", note="nightly")).api_token
    assert made.name.startswith("apiTokens/")
    assert made.name != "apiTokens/mine"
    assert (made.owner, made.note, list(made.roles)) == ("users/ann", "nightly", [pb.ROLE_USER])
    assert made.create_time.seconds
    assert (made.HasField("expire_time"), made.HasField("last_use_time")) == (False, False)
    expires = Timestamp(seconds=int(time.time()) + 3600)
    assert (await create(auth, ann, expire_time=expires)).api_token.expire_time == expires


@pytest.mark.parametrize("method", ["", "api-token"])
async def test_the_secret_logs_its_owner_in_until_it_is_revoked(auth: AuthServer, ann: Metadata, method: str) -> None:
    made = await create(auth, ann)
    login = pb.LoginRequest(method=method, token=Token(token=made.secret))
    answer = await auth.call("Login", login)
    assert answer.user == await auth.call("WhoAmI", pb.WhoAmIRequest(), ann)
    [token] = await listed(auth, ann)
    assert (token.name, token.HasField("last_use_time")) == (made.api_token.name, True)
    await delete(auth, ann, token.name)
    assert await listed(auth, ann) == []
    await fails(TokenRevoked, auth.call("Login", login))
    await fails(ApiTokenNotFound, delete(auth, ann, token.name))


async def test_tokens_are_listed_newest_first(auth: AuthServer, ann: Metadata) -> None:
    for note in "abcde":
        await create(auth, ann, note=note)
    assert [token.note for token in await listed(auth, ann)] == list("edcba")


async def test_tokens_of_others_are_neither_listed_nor_revoked(auth: AuthServer, ann: Metadata, bob: Metadata) -> None:
    name = (await create(auth, ann)).api_token.name
    assert await listed(auth, bob) == []
    await fails(PermissionDenied, auth.call("ListApiTokens", pb.ListApiTokensRequest(owner="users/ann"), bob))
    await fails(ApiTokenNotFound, delete(auth, bob, name))
    assert [token.name for token in await listed(auth, ann)] == [name]


async def test_a_token_has_no_role_that_its_owner_lacks(auth: AuthServer, ann: Metadata) -> None:
    await fails(PermissionDenied, create(auth, ann, roles=[pb.ROLE_ADMIN]))


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"note": "x" * 257}, "api_token.note"),
        ({"note": "\x1b[2J"}, "api_token.note"),
        ({"expire_time": Timestamp(seconds=1)}, "api_token.expire_time"),
        ({"roles": [pb.ROLE_UNSPECIFIED]}, "api_token.roles"),
    ],
)
async def test_a_malformed_token_names_the_field(
    auth: AuthServer, ann: Metadata, fields: dict[str, Any], wrong: str
) -> None:
    assert await wrong_fields(create(auth, ann, **fields)) == {wrong}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"page_size": -1}, "page_size"),
        ({"page_size": 1001}, "page_size"),
        ({"page_token": "nonsense"}, "page_token"),
        ({"owner": "ann"}, "owner"),
    ],
)
async def test_a_malformed_list_names_the_field(
    auth: AuthServer, ann: Metadata, fields: dict[str, Any], wrong: str
) -> None:
    assert await wrong_fields(auth.call("ListApiTokens", pb.ListApiTokensRequest(**fields), ann)) == {wrong}


async def test_a_malformed_name_of_a_token_is_named(auth: AuthServer, ann: Metadata) -> None:
    assert await wrong_fields(delete(auth, ann, "t1")) == {"name"}


# Dashboard links


async def link(auth: AuthServer, caller: Metadata, name: str, page: str = "") -> pb.CreateDashboardLinkResponse:
    return await auth.call("CreateDashboardLink", pb.CreateDashboardLinkRequest(name=name, page=page), caller)


async def test_a_link_opens_a_page_of_ones_own_cluster_for_a_while(
    auth: AuthServer, ann: Metadata, bob: Metadata, eventually: Eventually
) -> None:
    name = await auth.create_cluster(ann)

    async def known() -> bool:
        try:
            return bool((await link(auth, ann, name)).path)
        except auth_servers.CallFailed:
            return False

    await eventually(known)
    for page, path in (("", "status"), ("workers", "workers")):
        made = await link(auth, ann, name, page)
        assert re.fullmatch(rf"/{name}/{path}\?link=[\w.-]+", made.path)
        assert made.expire_time.seconds > time.time()
        assert made.session_duration.seconds > 0
    await fails(ClusterNotFound, link(auth, bob, name))
    await fails(ClusterNotFound, link(auth, ann, "clusters/nope"))
    assert await wrong_fields(link(auth, ann, "c1")) == {"name"}
    for page in ("../other/status", "a b", "status?x=1", "http://evil"):
        assert await wrong_fields(link(auth, ann, name, page)) == {"page"}


async def test_a_user_ends_their_own_sessions_and_nobody_elses(auth: AuthServer, ann: Metadata) -> None:
    request = pb.EndDashboardSessionsRequest
    for owner in ("", "users/ann"):
        assert await auth.call("EndDashboardSessions", request(owner=owner), ann) == pb.EndDashboardSessionsResponse()
    await fails(PermissionDenied, auth.call("EndDashboardSessions", request(owner="users/bob"), ann))
    assert await wrong_fields(auth.call("EndDashboardSessions", request(owner="ann"), ann)) == {"owner"}
