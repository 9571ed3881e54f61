"""Settings of authenticators: read by each of them, in the configured order, and checked against one another."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.auth.conftest import hashed
from typer.testing import CliRunner

from headrace_auth.__main__ import app
from headrace_auth.authenticators import development, password_file
from headrace_auth.authenticators.registry import create_realms, read_settings
from headrace_auth.authenticators.users_file import UserRecord, write_users

FILE = {"users_file": "/users"}
VARIABLE = "HEADRACE_AUTH_AUTHENTICATORS"


def test_each_reads_its_own_settings_and_order_stays() -> None:
    read = read_settings({"password": FILE, "development": {"prefix": "dev-", "label": "Anyone"}})
    assert list(read) == ["password", "development"]
    assert read["password"] == password_file.Settings(kind="password", prefix="password:", users_file=Path("/users"))
    assert read["development"] == development.Settings(kind="development", prefix="dev-", label="Anyone")


def test_one_kind_may_be_there_several_times() -> None:
    read = read_settings({"staff": {"kind": "password", **FILE}, "students": {"kind": "password", **FILE}})
    assert [(name, one.kind, one.prefix) for name, one in read.items()] == [
        ("staff", "password", "staff:"),
        ("students", "password", "students:"),
    ]


@pytest.mark.parametrize(
    ("raw", "explained"),
    [
        ([], "must be a mapping of names to settings"),
        ({"password": None}, "password: must be a mapping of settings"),
        ({"password": {}}, "password.users_file: Field required"),
        ({"password": {**FILE, "usersfile": 1}}, "password.usersfile: Extra inputs are not permitted"),
        ({"password": {**FILE, "prefix": "a/b"}}, "password.prefix: String should match pattern"),
        (
            {"kerberos": {}},
            "kerberos: there is no authenticator 'kerberos'; installed are development, kubernetes, password",
        ),
        ({"x": {"kind": "kerberos"}}, "x: there is no authenticator 'kerberos'"),
        ({"Pass word": FILE}, "Pass word: is no name for an authenticator"),
        ({"bootstrap": FILE}, "bootstrap: is no name for an authenticator"),
        ({"api-token": FILE}, "api-token: is no name for an authenticator"),
        (
            {"password": {**FILE, "prefix": ""}, "development": {"prefix": ""}},
            "password and development have the same prefix ''",
        ),
        (
            {"password": {**FILE, "prefix": "", "shared_namespace": True}, "development": {"prefix": ""}},
            "password and development have the same prefix ''",
        ),
        ({"password": {}, "kerberos": {}}, "users_file: Field required; kerberos: there is no"),
    ],
)
def test_what_is_wrong_is_named_and_explained(raw: object, explained: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 matched below
        read_settings(raw)
    assert explained in str(caught.value)


def test_a_namespace_is_shared_if_all_who_share_it_say_so() -> None:
    shared = {"prefix": "", "shared_namespace": True}
    assert len(read_settings({"password": {**FILE, **shared}, "development": shared})) == 2


async def test_they_are_created_from_their_settings(tmp_path: Path) -> None:
    write_users(tmp_path / "users", {"ann": UserRecord("ann", hashed("x"))})
    settings = read_settings({"staff": {"kind": "password", "users_file": tmp_path / "users"}, "development": {}})
    async with AsyncExitStack() as stack:
        realms = create_realms(settings, None, stack)
        assert [(realm.name, realm.label, realm.prefix) for realm in realms] == [
            ("staff", "Password", "staff:"),
            ("development", "Any user with any password (development)", "development:"),
        ]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("HEADRACE_AUTH_LISTEN", "unix:/run/auth.sock")
    monkeypatch.setenv("HEADRACE_AUTH_DEPLOYMENT_KEY_FILE", "/keys")
    return monkeypatch


def check_config(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check-config", *arguments])
    return result.exit_code, result.output


def test_settings_come_from_the_environment_nested_or_as_json(environment: pytest.MonkeyPatch) -> None:
    environment.setenv(f"{VARIABLE}__PASSWORD__USERS_FILE", "/users")
    environment.setenv(f"{VARIABLE}__PASSWORD__PREFIX", "")
    code, nested = check_config()
    assert code == 0
    assert json.loads(nested)["authenticators"]["password"]["users_file"] == "/users"
    environment.delenv(f"{VARIABLE}__PASSWORD__USERS_FILE")
    environment.delenv(f"{VARIABLE}__PASSWORD__PREFIX")
    environment.setenv(VARIABLE, json.dumps({"password": {**FILE, "prefix": ""}}))
    assert json.loads(check_config()[1])["authenticators"] == json.loads(nested)["authenticators"]


def test_the_environment_adds_to_the_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "auth.yaml"
    file.write_text("authenticators:\n  development: {}\n  password: {users_file: /users, prefix: 'p-'}\n")
    environment.setenv(f"{VARIABLE}__PASSWORD__USERS_FILE", "/others")
    code, output = check_config("--config", str(file))
    read = json.loads(output)["authenticators"]
    assert (code, list(read)) == (0, ["development", "password"])
    assert (read["password"]["users_file"], read["password"]["prefix"]) == ("/others", "p-")


def test_check_config_refuses_two_authenticators_that_share_a_namespace_by_accident(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv(VARIABLE, json.dumps({"password": {**FILE, "prefix": ""}, "development": {"prefix": ""}}))
    code, output = check_config()
    assert code == 2
    assert "authenticators (HEADRACE_AUTH_AUTHENTICATORS)" in output
    assert "set shared_namespace on all of them" in output


def test_check_config_names_the_field_that_is_wrong(environment: pytest.MonkeyPatch) -> None:
    environment.setenv(f"{VARIABLE}__PASSWORD__LABEL", "Users")
    code, output = check_config()
    assert code == 2
    assert "password.users_file: Field required" in output
