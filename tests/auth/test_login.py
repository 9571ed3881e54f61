"""Logging in."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path

import pytest
from redis.asyncio import Redis
from tests.auth.conftest import BOOTSTRAP_SECRET, hashed
from tests.auth.running import RunningAuth, bearer, failure, running_auth

from headrace import errors
from headrace.v1 import auth_service_pb2 as pb
from headrace_auth.authenticators.registry import read_settings
from headrace_auth.authenticators.users_file import UserRecord, read_users, write_users
from headrace_auth.bootstrap_token import BootstrapToken
from headrace_auth.config import AuthSettings


async def test_a_password_gives_a_token_that_says_who_its_owner_is(auth: RunningAuth) -> None:
    credential = pb.PasswordCredential(username="ann", password="ann's")
    answer = await auth.stub.Login(pb.LoginRequest(password=credential))
    who = await auth.stub.WhoAmI(pb.WhoAmIRequest(), metadata=bearer(answer.access_token))
    assert (
        who
        == answer.user
        == pb.User(name="users/ann", groups=["groups/astro"], roles=[pb.ROLE_USER], method="password")
    )
    assert 880 < answer.expire_time.seconds - time.time() <= 900


@pytest.mark.parametrize(("username", "password"), [("ann", "wrong"), ("nobody", "x"), ("ann", ""), ("é:\n", "x")])
async def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(
    auth: RunningAuth, username: str, password: str
) -> None:
    error = await failure(auth.login(username, password))
    assert type(error) is errors.BadCredentials
    assert str(error) == "wrong user name or password; your administrator can give you a new one"


async def test_too_many_attempts_are_refused_even_with_the_right_password(auth: RunningAuth) -> None:
    for _ in range(10):
        await failure(auth.login("ann", "wrong"))
    error = await failure(auth.login("ann", "ann's"))
    assert isinstance(error, errors.BadCredentials)
    assert 0 < int(error.details["retry_after_seconds"]) <= 60
    await auth.login("bob", "bob's")


async def test_success_resets_the_count_of_failures(auth: RunningAuth) -> None:
    for _ in range(3):
        for _ in range(4):
            await failure(auth.login("ann", "wrong"))
        await auth.login("ann", "ann's")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.LoginRequest(), "credential"),
        (pb.LoginRequest(password=pb.PasswordCredential(username="", password="x")), "password.username"),
        (pb.LoginRequest(password=pb.PasswordCredential(username="x" * 257)), "password.username"),
        (pb.LoginRequest(password=pb.PasswordCredential(username="x", password="x" * 1025)), "password.password"),
        (pb.LoginRequest(token=pb.TokenCredential(token="x" * 8193)), "token.token"),
        (pb.LoginRequest(method="kerberos", token=pb.TokenCredential(token="x")), "method"),
        (pb.LoginRequest(method="password", token=pb.TokenCredential(token="x")), "method"),
    ],
)
async def test_a_bad_request_names_the_field(auth: RunningAuth, request_: pb.LoginRequest, field: str) -> None:
    error = await failure(auth.stub.Login(request_))
    assert isinstance(error, errors.InvalidRequest)
    assert [violation.field for violation in error.violations] == [field]


async def test_a_changed_users_file_is_read_again(auth: RunningAuth, users_file: Path) -> None:
    users = read_users(users_file)
    users["eve"] = UserRecord("eve", hashed("eve's"))
    del users["bob"]
    write_users(users_file, users)
    await auth.login("eve", "eve's")
    assert isinstance(await failure(auth.login("bob", "bob's")), errors.BadCredentials)


def spoil(file: Path) -> None:
    file.write_text("nonsense\n")


async def test_a_broken_users_file_changes_nothing(auth: RunningAuth, users_file: Path) -> None:
    spoil(users_file)
    await auth.login("ann", "ann's")


async def test_the_bootstrap_token_works_with_the_store_empty(auth: RunningAuth, redis: Redis) -> None:
    await redis.flushall()
    answer = await auth.login_with(BOOTSTRAP_SECRET)
    assert answer.user.name == "users/operator"
    assert set(answer.user.roles) == {pb.ROLE_USER, pb.ROLE_ADMIN}


async def test_development_mode_lets_anyone_in_and_says_so(settings: AuthSettings) -> None:
    development = read_settings({"development": {}})
    async with running_auth(settings.model_copy(update={"authenticators": development})) as auth:
        call = auth.stub.Login(pb.LoginRequest(password=pb.PasswordCredential(username="anyone")))
        answer = await call
        assert answer.user == pb.User(name="users/development:anyone", roles=[pb.ROLE_USER], method="development")
        trailing = {str(key): value for key, value in await call.trailing_metadata()}
        assert "ANY user" in str(trailing["x-headrace-warning"])


@pytest.mark.parametrize("name", ["a/b", "..", "a b", "a\nb"])
async def test_a_name_that_cannot_be_an_id_is_refused_by_each_authenticator(settings: AuthSettings, name: str) -> None:
    development = read_settings({"development": {"prefix": ""}})
    async with running_auth(settings.model_copy(update={"authenticators": development})) as auth:
        error = await failure(auth.login(name, "any"))
        assert isinstance(error, errors.PermissionDenied)
        assert "cannot be a user id of this deployment: ask the administrator to rename the user" in str(error)


def test_a_bootstrap_token_for_such_a_name_is_refused_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.json"
    file.write_text('{"user": "a/b", "roles": ["admin"], "secret": "x"}')
    with pytest.raises(ValueError, match=r"'a/b' in .* cannot be a user id"):
        BootstrapToken.read(file)


async def test_an_admins_token_carries_the_role(auth: RunningAuth) -> None:
    who = await auth.stub.WhoAmI(pb.WhoAmIRequest(), metadata=await auth.login("root", "root's"))
    assert set(who.roles) == {pb.ROLE_USER, pb.ROLE_ADMIN}


async def test_a_client_learns_how_it_can_log_in(auth: RunningAuth) -> None:
    info = await auth.stub.GetServerInfo(pb.GetServerInfoRequest())
    assert info.version == version("headrace-auth")
    assert list(info.login_methods) == [
        pb.LoginMethod(method="api-token", label="API token", credential_kind=pb.CREDENTIAL_KIND_TOKEN),
        pb.LoginMethod(method="password", label="Password", credential_kind=pb.CREDENTIAL_KIND_PASSWORD),
    ]
    assert list(info.features) == [pb.FEATURE_API_TOKENS, pb.FEATURE_DASHBOARD_LINKS]


async def test_without_routes_no_dashboard_links_are_offered(settings: AuthSettings) -> None:
    async with running_auth(settings.model_copy(update={"route_address": ""})) as auth:
        info = await auth.stub.GetServerInfo(pb.GetServerInfoRequest())
    assert list(info.features) == [pb.FEATURE_API_TOKENS]


async def test_without_authenticators_only_tokens_log_in(settings: AuthSettings) -> None:
    async with running_auth(settings.model_copy(update={"authenticators": {}})) as auth:
        error = await failure(auth.login("ann", "ann's"))
        assert isinstance(error, errors.InvalidRequest)
        assert "log in with a token" in str(error)
        assert await auth.login_with(BOOTSTRAP_SECRET)
