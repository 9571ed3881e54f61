from __future__ import annotations

import io
import json
import stat
from datetime import UTC, datetime, timedelta

import pytest
from tests.client.fake_headrace import FakeHeadrace

from headrace._target.saved_login import SavedLogin, logins_file
from headrace.cli.default_address import config_file
from headrace.v1 import auth_service_pb2 as auth
from headrace_auth.api_token_secrets import SECRET_PREFIX

from .conftest import CONFIGURATION, TOKEN, Cli


@pytest.fixture
def unconfigured(headrace: FakeHeadrace, monkeypatch: pytest.MonkeyPatch) -> FakeHeadrace:
    """A headrace that nobody has logged in at."""
    for name in ("DASK_HEADRACE__ADDRESS", *CONFIGURATION):
        monkeypatch.delenv(name)
    return headrace


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_password_is_exchanged_for_a_token_that_only_its_owner_can_read(
    cli: Cli, unconfigured: FakeHeadrace, monkeypatch: pytest.MonkeyPatch
):
    type_in(monkeypatch, "ann sesame\n")
    done = cli("login", unconfigured.address, "--user", "ann", "--password-stdin")
    assert done.code == 0, done.err
    saved = SavedLogin.read(unconfigured.address)
    assert saved is not None
    assert saved.user == "ann"
    assert unconfigured.auth.secrets[saved.token] == "ann"
    assert stat.S_IMODE(logins_file().stat().st_mode) == 0o600
    assert "sesame" not in logins_file().read_text()
    assert cli("whoami", "--address", unconfigured.address).out == "ann (user, in people), by password\n"


def test_gateway_goes_there_from_then_on(cli: Cli, unconfigured: FakeHeadrace, monkeypatch: pytest.MonkeyPatch):
    type_in(monkeypatch, TOKEN + "\n")
    cli("login", unconfigured.address, "--token-stdin")
    assert unconfigured.address in config_file().read_text()
    assert cli("whoami").code == 0
    cli("logout", unconfigured.address)
    assert not config_file().exists()


def test_a_configuration_of_ones_own_is_left_alone(
    cli: Cli, unconfigured: FakeHeadrace, monkeypatch: pytest.MonkeyPatch
):
    config_file().parent.mkdir(parents=True)
    config_file().write_text("headrace: {progress: false}\n")
    type_in(monkeypatch, TOKEN + "\n")
    out = cli("login", unconfigured.address, "--token-stdin").out
    assert f"is your own file and stays unchanged: set headrace.address to {unconfigured.address} there" in out
    assert config_file().read_text() == "headrace: {progress: false}\n"


@pytest.mark.parametrize(("token", "arguments"), [(SECRET_PREFIX + "of-ann", ()), (TOKEN, ("--method", "api-token"))])
def test_an_api_token_is_kept_as_it_is(
    cli: Cli, unconfigured: FakeHeadrace, monkeypatch: pytest.MonkeyPatch, token: str, arguments: tuple[str, ...]
):
    unconfigured.auth.secrets[token] = "ann"
    type_in(monkeypatch, token + "\n")
    assert cli("login", unconfigured.address, *arguments, "--token-stdin").code == 0
    assert unconfigured.auth.api_tokens == {}
    saved = SavedLogin.read(unconfigured.address)
    assert saved is not None
    assert saved.token == token


def test_a_wrong_password_saves_nothing(cli: Cli, unconfigured: FakeHeadrace, monkeypatch: pytest.MonkeyPatch):
    type_in(monkeypatch, "wrong\n")
    done = cli("login", unconfigured.address, "--user", "ann", "--password-stdin")
    assert done.code == 1
    assert "wrong user name or password" in done.err
    assert not logins_file().exists()


@pytest.mark.parametrize("arguments", [("--method", "jupyterhub"), ()])
def test_a_token_of_another_system_is_exchanged(
    cli: Cli, unconfigured: FakeHeadrace, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
):
    kind = auth.CREDENTIAL_KIND_TOKEN
    unconfigured.auth.login_methods = [auth.LoginMethod(method="jupyterhub", credential_kind=kind)]
    type_in(monkeypatch, TOKEN + "\n")
    assert cli("login", unconfigured.address, *arguments, "--token-stdin").code == 0
    assert unconfigured.requests_of(auth.LoginRequest)[0].method == "".join(arguments[1:])
    saved = SavedLogin.read(unconfigured.address)
    assert saved is not None
    assert saved.token != TOKEN
    assert unconfigured.auth.secrets[saved.token] == "ann"


def test_where_only_tokens_are_taken_a_token_is_asked_for(
    cli: Cli, unconfigured: FakeHeadrace, monkeypatch: pytest.MonkeyPatch
):
    kind = auth.CREDENTIAL_KIND_TOKEN
    unconfigured.auth.login_methods = [auth.LoginMethod(method="api-token", credential_kind=kind)]
    monkeypatch.setattr("getpass.getpass", lambda *_, **__: TOKEN)  # pyright: ignore[reportUnknownLambdaType]
    assert cli("login", unconfigured.address).code == 0


@pytest.mark.parametrize(
    ("arguments", "credential"),
    [
        ((), "password"),  # although the server tries API tokens first
        (("--method", "password"), "password"),
        (("--method", "both"), "password"),
        (("--method", "api-token"), "token"),
    ],
)
def test_a_password_is_asked_for_where_the_server_or_the_method_takes_one(
    cli: Cli, unconfigured: FakeHeadrace, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], credential: str
):
    for kind in (auth.CREDENTIAL_KIND_PASSWORD, auth.CREDENTIAL_KIND_TOKEN):
        unconfigured.auth.login_methods.append(auth.LoginMethod(method="both", credential_kind=kind))
    secret = {"password": "ann sesame", "token": TOKEN}[credential]
    monkeypatch.setattr("getpass.getpass", lambda *_, **__: secret)  # pyright: ignore[reportUnknownLambdaType]
    type_in(monkeypatch, "ann\n")
    done = cli("login", unconfigured.address, *arguments)
    assert done.code == 0, done.err
    assert unconfigured.requests_of(auth.LoginRequest)[0].WhichOneof("credential") == credential


def test_an_unknown_way_to_log_in_is_refused_with_those_that_are_offered(cli: Cli, unconfigured: FakeHeadrace):
    done = cli("login", unconfigured.address, "--method", "kerberos")
    assert done.code == 1
    assert "no way to log in named 'kerberos'; it offers api-token, password" in done.err


def test_logout_removes_the_saved_login(cli: Cli, unconfigured: FakeHeadrace, monkeypatch: pytest.MonkeyPatch):
    type_in(monkeypatch, TOKEN + "\n")
    cli("login", unconfigured.address, "--token-stdin")
    assert cli("logout", unconfigured.address).code == 0
    assert SavedLogin.read(unconfigured.address) is None
    assert cli("logout", unconfigured.address).code == 1


def test_logout_everywhere_ends_the_sessions_at_dashboards_first(
    cli: Cli, unconfigured: FakeHeadrace, monkeypatch: pytest.MonkeyPatch
):
    type_in(monkeypatch, TOKEN + "\n")
    cli("login", unconfigured.address, "--token-stdin")
    done = cli("logout", unconfigured.address, "--everywhere")
    assert done.code == 0, done.err
    assert unconfigured.auth.sessions_ended == ["users/ann"]
    assert SavedLogin.read(unconfigured.address) is None


def test_whoami_in_json(cli: Cli, headrace: FakeHeadrace):
    assert json.loads(cli("whoami", "--json").out)["roles"] == ["ROLE_USER"]


def test_tokens_are_listed_over_all_pages(cli: Cli, headrace: FakeHeadrace):
    for note in ("for cron", "for CI"):
        cli("tokens", "create", "--note", note)
    done = cli("tokens", "list")
    for shown in ("t1", "t2", "for cron", "for CI"):
        assert shown in done.out


def test_a_new_token_is_the_only_thing_on_standard_output(cli: Cli, headrace: FakeHeadrace):
    done = cli("tokens", "create", "--note", "for cron", "--days", "7", "--role", "user")
    assert headrace.auth.secrets[done.out.strip()] == "ann"
    [asked] = headrace.requests_of(auth.CreateApiTokenRequest)
    left = asked.api_token.expire_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(days=6) < left < timedelta(days=8)
    assert list(asked.api_token.roles) == [auth.ROLE_USER]


def test_a_role_that_does_not_exist_is_wrong_usage(cli: Cli, headrace: FakeHeadrace):
    done = cli("tokens", "create", "--role", "king")
    assert done.code == 2
    assert headrace.requests == []


def test_a_token_is_revoked_by_its_id(cli: Cli, headrace: FakeHeadrace):
    cli("tokens", "create")
    assert cli("tokens", "revoke", "t1").code == 0
    assert headrace.auth.api_tokens == {}
    assert "there is no API token apiTokens/t1" in cli("tokens", "revoke", "t1").err
