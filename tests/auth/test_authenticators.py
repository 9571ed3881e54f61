"""Several authenticators in one deployment, through the real service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.auth.api_tokens import create, listed
from tests.auth.conftest import hashed
from tests.auth.running import RunningAuth, bearer, failure, running_auth

from headrace import errors
from headrace.v1 import auth_service_pb2 as pb
from headrace_auth.authenticators.registry import read_settings
from headrace_auth.authenticators.users_file import UserRecord, read_users, write_users
from headrace_auth.config import AuthSettings

STAFF = {
    "ann": UserRecord("ann", hashed("ann of staff"), ("people",)),
    "eve": UserRecord("eve", hashed("eve's"), (), ("admin",)),
}
STUDENTS = {
    "ann": UserRecord("ann", hashed("ann the student"), ("people",)),
    "kim": UserRecord("kim", hashed("kim's")),
}


def with_files(settings: AuthSettings, directory: Path, **facts: object) -> AuthSettings:
    for name, users in (("staff", STAFF), ("students", STUDENTS)):
        write_users(directory / name, users)
    both = {name: {"kind": "password", "users_file": directory / name, **facts} for name in ("staff", "students")}
    return settings.model_copy(update={"authenticators": read_settings(both)})


@pytest.fixture
async def auth(settings: AuthSettings, directory: Path) -> AsyncIterator[RunningAuth]:
    async with running_auth(with_files(settings, directory)) as running:
        yield running


async def log_in(auth: RunningAuth, username: str, password: str, method: str = "") -> pb.LoginResponse:
    credential = pb.PasswordCredential(username=username, password=password)
    return await auth.stub.Login(pb.LoginRequest(method=method, password=credential))


@pytest.mark.parametrize(
    ("username", "password", "method", "user"),
    [
        ("eve", "eve's", "", "users/staff:eve"),
        ("kim", "kim's", "", "users/students:kim"),
        ("ann", "ann of staff", "", "users/staff:ann"),
        ("ann", "ann of staff", "staff", "users/staff:ann"),
        ("ann", "ann the student", "students", "users/students:ann"),
    ],
)
async def test_a_name_that_one_does_not_know_goes_to_the_next(
    auth: RunningAuth, username: str, password: str, method: str, user: str
) -> None:
    answer = await log_in(auth, username, password, method)
    assert answer.user.name == user
    assert answer.user.method == user.removeprefix("users/").partition(":")[0]


@pytest.mark.parametrize(
    ("username", "password", "method"),
    [
        ("ann", "ann the student", ""),  # staff knows an ann: its answer holds
        ("ann", "ann the student", "staff"),
        ("kim", "kim's", "staff"),
        ("nobody", "x", ""),
    ],
)
async def test_a_wrong_password_of_a_known_name_ends_the_login(
    auth: RunningAuth, username: str, password: str, method: str
) -> None:
    error = await failure(log_in(auth, username, password, method))
    assert type(error) is errors.BadCredentials
    assert str(error) == "wrong user name or password; your administrator can give you a new one"


async def test_a_method_that_is_none_or_takes_something_else_is_named(auth: RunningAuth) -> None:
    for method in ("ldap", "api-token"):
        error = await failure(log_in(auth, "ann", "x", method))
        assert isinstance(error, errors.InvalidRequest)
        assert [violation.field for violation in error.violations] == ["method"]
        assert "staff, students" in str(error)


async def test_the_ways_to_log_in_are_listed_in_their_order(auth: RunningAuth) -> None:
    info = await auth.stub.GetServerInfo(pb.GetServerInfoRequest())
    assert [method.method for method in info.login_methods] == ["api-token", "staff", "students"]


async def test_equal_names_are_two_people_with_their_own_groups_and_tokens(auth: RunningAuth) -> None:
    staff = await log_in(auth, "ann", "ann of staff", "staff")
    student = await log_in(auth, "ann", "ann the student", "students")
    assert (list(staff.user.groups), list(student.user.groups)) == (["groups/staff:people"], ["groups/students:people"])
    await create(auth, bearer(staff.access_token))
    assert await listed(auth, bearer(student.access_token)) == []
    error = await failure(listed(auth, bearer(student.access_token), "users/staff:ann"))
    assert isinstance(error, errors.PermissionDenied)


async def test_an_api_token_is_vouched_for_by_the_authenticator_of_its_owner_only(
    auth: RunningAuth, directory: Path
) -> None:
    student = await log_in(auth, "ann", "ann the student", "students")
    secret = (await create(auth, bearer(student.access_token))).secret
    write_users(directory / "staff", {**STAFF, "ann": UserRecord("ann", hashed("x"), ("bosses",), ("admin",))})
    answer = await auth.login_with(secret)
    assert answer.user == student.user
    users = read_users(directory / "students")
    del users["ann"]
    write_users(directory / "students", users)
    assert isinstance(await failure(auth.login_with(secret)), errors.TokenRevoked)


async def test_an_api_token_ends_with_the_authenticator_of_its_owner(settings: AuthSettings, directory: Path) -> None:
    both = with_files(settings, directory)
    async with running_auth(both) as auth:
        kim = await log_in(auth, "kim", "kim's")
        secret = (await create(auth, bearer(kim.access_token))).secret
    only_staff = {"staff": both.authenticators["staff"]}
    async with running_auth(both.model_copy(update={"authenticators": only_staff})) as auth:
        error = await failure(auth.login_with(secret))
        assert isinstance(error, errors.TokenRevoked)
        assert "students" in str(error)


async def test_a_shared_namespace_is_one_person_by_the_administrators_will(
    settings: AuthSettings, directory: Path
) -> None:
    shared = with_files(settings, directory, prefix="", shared_namespace=True)
    async with running_auth(shared) as auth:
        for password, method in (("ann of staff", "staff"), ("ann the student", "students")):
            answer = await log_in(auth, "ann", password, method)
            assert (answer.user.name, answer.user.method) == ("users/ann", method)


async def test_the_bootstrap_users_tokens_end_with_the_bootstrap_token(auth: RunningAuth) -> None:
    operator = await auth.login_with("hr_bootstrap")
    assert operator.user.method == "bootstrap"
    secret = (await create(auth, bearer(operator.access_token))).secret
    assert (await auth.login_with(secret)).user == operator.user
    without = auth.settings.model_copy(
        update={
            "bootstrap_token_file": None,
            "listen": auth.settings.listen + "2",
            "internal_listen": auth.settings.internal_listen + "2",
        }
    )
    async with running_auth(without) as other:
        assert isinstance(await failure(other.login_with(secret)), errors.TokenRevoked)
