"""API tokens, through the real service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from redis.asyncio import Redis
from tests.auth.running import Metadata, RunningAuth, bearer, failure

from headrace import errors
from headrace.v1 import auth_service_pb2 as pb
from headrace_auth.api_token_store import ApiTokenStore
from headrace_auth.authenticators.users_file import UserRecord, read_users, write_users
from headrace_auth.model import ApiToken
from headrace_chassis.redis.keys import Prefix


async def create(
    auth: RunningAuth, caller: Metadata, note: str = "", roles: tuple[pb.Role.ValueType, ...] = ()
) -> pb.CreateApiTokenResponse:
    request = pb.CreateApiTokenRequest(api_token=pb.ApiToken(note=note, roles=roles))
    return await auth.stub.CreateApiToken(request, metadata=caller)


async def revoke(auth: RunningAuth, caller: Metadata, name: str) -> None:
    await auth.stub.DeleteApiToken(pb.DeleteApiTokenRequest(name=name), metadata=caller)


async def listed(auth: RunningAuth, caller: Metadata, owner: str = "") -> list[pb.ApiToken]:
    answer = await auth.stub.ListApiTokens(pb.ListApiTokensRequest(owner=owner), metadata=caller)
    return list(answer.api_tokens)


async def test_a_token_logs_its_owner_in_and_is_listed_without_its_secret(auth: RunningAuth, ann: Metadata) -> None:
    created = await create(auth, ann, "nightly job")
    answer = await auth.login_with(created.secret)
    assert answer.user == pb.User(name="users/ann", groups=["groups/astro"], roles=[pb.ROLE_USER], method="password")
    (token,) = await listed(auth, ann)
    assert (token.name, token.note, token.owner) == (created.api_token.name, "nightly job", "users/ann")
    assert token.HasField("last_use_time")
    assert created.secret.startswith("hr_")


async def test_the_store_holds_no_secret(auth: RunningAuth, ann: Metadata, redis: Redis) -> None:
    secret = (await create(auth, ann)).secret.encode()
    for key in cast("list[bytes]", await redis.keys("*")):
        assert secret not in key
        assert secret not in cast("bytes", await redis.dump(key))


async def test_a_revoked_token_says_so_and_is_gone_from_the_list(auth: RunningAuth, ann: Metadata) -> None:
    created = await create(auth, ann)
    await revoke(auth, ann, created.api_token.name)
    assert isinstance(await failure(auth.login_with(created.secret)), errors.TokenRevoked)
    assert await listed(auth, ann) == []
    assert isinstance(await failure(revoke(auth, ann, created.api_token.name)), errors.ApiTokenNotFound)


async def test_an_expired_token_says_so(auth: RunningAuth, redis: Redis) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    token = ApiToken(
        id="t1",
        owner="ann",
        roles=frozenset({"user"}),
        groups=(),
        note="",
        method="password",
        created=past,
        expires=past,
    )
    await ApiTokenStore(redis, Prefix("headrace")).save(token, "hr_old")
    assert isinstance(await failure(auth.login_with("hr_old")), errors.TokenExpired)


@pytest.mark.parametrize("secret", ["hr_unknown", "something-else", "hr_"])
async def test_an_unknown_token_is_a_bad_credential(auth: RunningAuth, secret: str) -> None:
    assert isinstance(await failure(auth.login_with(secret)), errors.BadCredentials)


async def test_a_token_never_has_a_role_that_its_owner_lacks(auth: RunningAuth, ann: Metadata, root: Metadata) -> None:
    error = await failure(create(auth, ann, roles=(pb.ROLE_ADMIN,)))
    assert isinstance(error, errors.PermissionDenied)
    assert "ask for user" in str(error)
    weak = await create(auth, root, roles=(pb.ROLE_USER,))
    assert list((await auth.login_with(weak.secret)).user.roles) == [pb.ROLE_USER]


async def test_roles_and_groups_follow_the_owner_down(auth: RunningAuth, root: Metadata, users_file: Path) -> None:
    secret = (await create(auth, root)).secret
    users = read_users(users_file)
    users["root"] = UserRecord("root", users["root"].password_hash, ("retired",), ("user",))
    write_users(users_file, users)
    user = (await auth.login_with(secret)).user
    assert (list(user.roles), list(user.groups)) == ([pb.ROLE_USER], ["groups/retired"])


async def test_the_tokens_of_a_removed_user_stop_even_those_made_with_tokens(
    auth: RunningAuth, ann: Metadata, users_file: Path
) -> None:
    first = (await create(auth, ann)).secret
    by_token = bearer((await auth.login_with(first)).access_token)
    second = (await create(auth, by_token)).secret
    users = read_users(users_file)
    del users["ann"]
    write_users(users_file, users)
    for secret in (first, second):
        assert isinstance(await failure(auth.login_with(secret)), errors.TokenRevoked)


async def test_others_neither_see_nor_revoke_a_token_but_admins_do(
    auth: RunningAuth, ann: Metadata, bob: Metadata, root: Metadata
) -> None:
    name = (await create(auth, ann)).api_token.name
    assert isinstance(await failure(listed(auth, bob, "users/ann")), errors.PermissionDenied)
    assert isinstance(await failure(revoke(auth, bob, name)), errors.ApiTokenNotFound)
    assert [token.name for token in await listed(auth, root, "users/ann")] == [name]
    await revoke(auth, root, name)
    assert await listed(auth, ann) == []


async def test_pages_are_newest_first_and_survive_a_revocation_between_them(auth: RunningAuth, ann: Metadata) -> None:
    names = [(await create(auth, ann, str(n))).api_token.name for n in range(5)]
    first = await auth.stub.ListApiTokens(pb.ListApiTokensRequest(page_size=2), metadata=ann)
    assert [token.note for token in first.api_tokens] == ["4", "3"]
    await revoke(auth, ann, names[3])
    request = pb.ListApiTokensRequest(page_size=2, page_token=first.next_page_token)
    second = await auth.stub.ListApiTokens(request, metadata=ann)
    assert [token.note for token in second.api_tokens] == ["2", "1"]
    request.page_token = second.next_page_token
    third = await auth.stub.ListApiTokens(request, metadata=ann)
    assert [token.note for token in third.api_tokens] == ["0"]
    assert not third.next_page_token


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListApiTokensRequest(page_size=-1), "page_size"),
        (pb.ListApiTokensRequest(page_size=1001), "page_size"),
        (pb.ListApiTokensRequest(page_token="nonsense"), "page_token"),
        (pb.ListApiTokensRequest(owner="ann"), "owner"),
    ],
)
async def test_a_bad_list_request_names_the_field(
    auth: RunningAuth, ann: Metadata, request_: pb.ListApiTokensRequest, field: str
) -> None:
    error = await failure(auth.stub.ListApiTokens(request_, metadata=ann))
    assert isinstance(error, errors.InvalidRequest)
    assert [violation.field for violation in error.violations] == [field]


@pytest.mark.parametrize(
    ("token", "field"),
    [
        (pb.ApiToken(note="x" * 257), "api_token.note"),
        (pb.ApiToken(expire_time=Timestamp(seconds=1)), "api_token.expire_time"),
        (pb.ApiToken(expire_time=Timestamp(seconds=10**15)), "api_token.expire_time"),
        (pb.ApiToken(roles=[pb.ROLE_UNSPECIFIED]), "api_token.roles"),
    ],
)
async def test_a_bad_token_names_the_field(auth: RunningAuth, ann: Metadata, token: pb.ApiToken, field: str) -> None:
    error = await failure(auth.stub.CreateApiToken(pb.CreateApiTokenRequest(api_token=token), metadata=ann))
    assert isinstance(error, errors.InvalidRequest)
    assert [violation.field for violation in error.violations] == [field]
