"""API tokens, through the real service."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from redis.asyncio import Redis
from tests.auth.api_tokens import create, listed, revoke
from tests.auth.running import Metadata, RunningAuth, bearer, failure

from headrace import errors
from headrace.v1 import auth_service_pb2 as pb
from headrace_auth import keys
from headrace_auth.api_token_secrets import ApiTokenSecrets
from headrace_auth.api_token_store import MAX_REVOKED, MAX_TOKENS, ApiTokenStore
from headrace_auth.authenticators.users_file import UserRecord, read_users, write_users
from headrace_auth.model import ApiToken
from headrace_chassis.identity.seal import Seal, derive, read_deployment_keys
from headrace_chassis.paging import make_token
from headrace_chassis.redis.keys import Prefix


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


def api_token(token_id: str = "t1", **changes: Any) -> ApiToken:
    fields = ApiToken(
        id=token_id,
        owner="ann",
        roles=frozenset({"user"}),
        groups=(),
        note="nightly",
        method="password",
        created=datetime.now(UTC),
        expires=None,
    )
    return replace(fields, **changes)


def secrets_of(auth: RunningAuth, *deployment_keys: bytes) -> ApiTokenSecrets:
    """Makes and reads secrets as the service does, or with other deployment keys."""
    found = deployment_keys or read_deployment_keys(auth.settings.deployment_key_file)
    return ApiTokenSecrets(Seal([derive(key, f"api-token/{auth.settings.deployment}") for key in found]))


async def test_an_expired_token_says_so(auth: RunningAuth) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    secret = secrets_of(auth).make(api_token(created=past, expires=past))
    assert isinstance(await failure(auth.login_with(secret)), errors.TokenExpired)


async def test_a_token_outlives_the_store_and_is_listed_again_after_its_use(
    auth: RunningAuth, ann: Metadata, redis: Redis
) -> None:
    created = await create(auth, ann, "nightly", expires=time.time() + 3600)
    await redis.flushall()
    answer = await auth.login_with(created.secret)
    assert (answer.user.name, list(answer.user.groups)) == ("users/ann", ["groups/astro"])
    (token,) = await listed(auth, bearer(answer.access_token))
    token.ClearField("last_use_time")
    assert token == created.api_token
    await revoke(auth, ann, token.name)
    assert isinstance(await failure(auth.login_with(created.secret)), errors.TokenRevoked)


async def test_a_token_lives_as_long_as_the_deployment_has_its_key(auth: RunningAuth) -> None:
    old, new, other = (bytes([n]) * 32 for n in range(3))
    secret = secrets_of(auth, old).make(api_token())
    assert secrets_of(auth, new, old).read(secret) == secrets_of(auth, old).read(secret)
    assert secrets_of(auth, other).read(secret) is None
    assert isinstance(await failure(auth.login_with(secret)), errors.BadCredentials)


async def test_an_altered_secret_is_a_bad_credential_and_tells_nothing(auth: RunningAuth, ann: Metadata) -> None:
    secret = (await create(auth, ann)).secret
    for altered in (secret[:-5], secret + "A", secret[:40] + ("A" if secret[40] != "A" else "B") + secret[41:]):
        assert isinstance(await failure(auth.login_with(altered)), errors.BadCredentials)
    sealed = secret.removeprefix("hr_")
    assert b"ann" not in base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))


async def test_what_a_newer_release_adds_to_a_secret_is_left_out(auth: RunningAuth) -> None:
    seal = secrets_of(auth).seal
    claims = {**claims_of(api_token()), "scope": "clusters"}
    secret = "hr_" + seal.seal(json.dumps(claims).encode()).decode().rstrip("=")
    assert (await auth.login_with(secret)).user.name == "users/ann"


def claims_of(token: ApiToken) -> dict[str, object]:
    return {
        "id": token.id,
        "owner": token.owner,
        "method": token.method,
        "roles": sorted(token.roles),
        "groups": token.groups,
        "note": token.note,
        "created": token.created.timestamp(),
        "expires": None,
    }


def test_a_secret_that_login_would_not_take_is_not_made() -> None:
    secrets = ApiTokenSecrets(Seal([b"k" * 32]))
    groups = tuple(f"group-{n:03}-{'x' * 40}" for n in range(200))
    with pytest.raises(errors.InvalidRequest, match="the 200 groups of ann are too many"):
        secrets.make(api_token(groups=groups))


async def test_tokens_that_are_gone_do_not_count(auth: RunningAuth, ann: Metadata, redis: Redis) -> None:
    index = keys.api_tokens(Prefix("headrace"), "ann")
    await redis.zadd(index, {f"expired-{n}": n for n in range(MAX_TOKENS)})
    assert (await create(auth, ann)).secret
    assert await redis.zcard(index) == 1
    store = ApiTokenStore(redis, Prefix("headrace"))
    for n in range(MAX_TOKENS - 1):
        await store.save(api_token(f"t{n}"), f"t{n}")
    error = await failure(create(auth, ann))
    assert isinstance(error, errors.InvalidRequest)
    assert "ann has 1000 API tokens, which is the maximum" in str(error)


async def test_revoked_tokens_stay_revoked_however_many_follow(redis: Redis) -> None:
    store, now = ApiTokenStore(redis, Prefix("t")), datetime.now(UTC)
    tokens = [api_token(f"t{n}", created=now + timedelta(seconds=n)) for n in range(MAX_REVOKED + 10)]
    kept = api_token("kept", created=now - timedelta(seconds=1))
    await store.save(kept, "kept")
    for token in tokens:
        await store.save(token, token.id)
        await store.revoke(token)
    assert await redis.zcard(keys.revoked_api_tokens(Prefix("t"), "ann")) <= MAX_REVOKED
    for token in (tokens[0], tokens[MAX_REVOKED // 2], tokens[-1]):
        with pytest.raises(errors.TokenRevoked):
            await store.use(token, token.id, now)
    await store.use(kept, "kept", now)
    await store.use(api_token("later", created=now + timedelta(days=1)), "later", now)


@pytest.mark.parametrize("secret", ["of another key", "hr_old"])
async def test_a_secret_that_no_key_opens_any_more_is_known_by_its_record(
    auth: RunningAuth, ann: Metadata, redis: Redis, secret: str
) -> None:
    if secret == "of another key":
        secret = secrets_of(auth, b"k" * 32).make(api_token())
    await ApiTokenStore(redis, Prefix("headrace")).save(api_token(), secret)
    assert (await auth.login_with(secret)).user.name == "users/ann"
    (token,) = await listed(auth, ann)
    assert token.HasField("last_use_time")
    await revoke(auth, ann, token.name)
    assert isinstance(await failure(auth.login_with(secret)), errors.TokenRevoked)


async def test_what_a_token_makes_ends_with_it(auth: RunningAuth, ann: Metadata) -> None:
    ends = int(time.time()) + 60
    first = await auth.login_with((await create(auth, ann, expires=ends)).secret)
    assert first.expire_time.seconds <= ends
    by_token = bearer(first.access_token)
    for expires in (None, ends + 1):
        error = await failure(create(auth, by_token, expires=expires))
        assert isinstance(error, errors.InvalidRequest)
        assert [violation.field for violation in error.violations] == ["api_token.expire_time"]
        assert f"must be {datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M:%S} UTC at the latest" in str(error)
    second = await auth.login_with((await create(auth, by_token, expires=ends)).secret)
    assert second.expire_time.seconds <= ends


async def test_a_token_without_an_end_makes_others_without_one(auth: RunningAuth, ann: Metadata) -> None:
    by_token = bearer((await auth.login_with((await create(auth, ann)).secret)).access_token)
    assert not (await create(auth, by_token)).api_token.HasField("expire_time")


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


@pytest.mark.parametrize("cursor", ["abc", "abc t1", " ", "\0"])
async def test_a_forged_page_token_names_the_field(auth: RunningAuth, ann: Metadata, cursor: str) -> None:
    request = pb.ListApiTokensRequest()
    request.page_token = make_token(request, cursor, caller="ann")
    error = await failure(auth.stub.ListApiTokens(request, metadata=ann))
    assert isinstance(error, errors.InvalidRequest)
    assert [violation.field for violation in error.violations] == ["page_token"]


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
