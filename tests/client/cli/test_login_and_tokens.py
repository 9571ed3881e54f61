from __future__ import annotations

import io
import json
import stat
from datetime import UTC, datetime, timedelta

import pytest

from headrace._target.saved_login import SavedLogin, logins_file
from headrace.cli.default_address import config_file
from headrace.v1 import auth_service_pb2 as auth

from .conftest import TOKEN, Cli, FakeGateway


@pytest.fixture
def unconfigured(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    """A gateway that nobody has logged in at."""
    for name in ("DASK_HEADRACE__ADDRESS", "HEADRACE_TOKEN", "DASK_HEADRACE__AUTH__TYPE"):
        monkeypatch.delenv(name)
    return gateway


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_password_is_exchanged_for_a_token_that_only_its_owner_can_read(
    cli: Cli, unconfigured: FakeGateway, monkeypatch: pytest.MonkeyPatch
):
    type_in(monkeypatch, "correct horse\n")
    done = cli("login", unconfigured.address, "--user", "ann", "--password-stdin")
    assert done.code == 0, done.err
    saved = SavedLogin.read(unconfigured.address)
    assert saved is not None
    assert (saved.user, saved.token) == ("ann", TOKEN)
    assert stat.S_IMODE(logins_file().stat().st_mode) == 0o600
    assert "correct horse" not in logins_file().read_text()
    assert cli("whoami", "--address", unconfigured.address).out == "ann (owner, in physics), by api-token\n"


def test_gateway_goes_there_from_then_on(cli: Cli, unconfigured: FakeGateway, monkeypatch: pytest.MonkeyPatch):
    type_in(monkeypatch, TOKEN + "\n")
    cli("login", unconfigured.address, "--token-stdin")
    assert unconfigured.address in config_file().read_text()
    assert cli("whoami").code == 0
    cli("logout", unconfigured.address)
    assert not config_file().exists()


def test_a_configuration_of_ones_own_is_left_alone(
    cli: Cli, unconfigured: FakeGateway, monkeypatch: pytest.MonkeyPatch
):
    config_file().parent.mkdir(parents=True)
    config_file().write_text("headrace: {progress: false}\n")
    type_in(monkeypatch, TOKEN + "\n")
    assert "decides where Gateway() goes" in cli("login", unconfigured.address, "--token-stdin").out
    assert config_file().read_text() == "headrace: {progress: false}\n"


def test_a_token_is_kept_as_it_is(cli: Cli, unconfigured: FakeGateway, monkeypatch: pytest.MonkeyPatch):
    type_in(monkeypatch, TOKEN + "\n")
    assert cli("login", unconfigured.address, "--token-stdin").code == 0
    assert unconfigured.asked == []
    assert SavedLogin.read(unconfigured.address) is not None


def test_a_wrong_password_saves_nothing(cli: Cli, unconfigured: FakeGateway, monkeypatch: pytest.MonkeyPatch):
    type_in(monkeypatch, "wrong\n")
    done = cli("login", unconfigured.address, "--user", "ann", "--password-stdin")
    assert done.code == 1
    assert "wrong password or token" in done.err
    assert not logins_file().exists()


def test_logout_forgets(cli: Cli, unconfigured: FakeGateway, monkeypatch: pytest.MonkeyPatch):
    type_in(monkeypatch, TOKEN + "\n")
    cli("login", unconfigured.address, "--token-stdin")
    assert cli("logout", unconfigured.address).code == 0
    assert SavedLogin.read(unconfigured.address) is None
    assert cli("logout", unconfigured.address).code == 1


def test_whoami_in_json(cli: Cli, gateway: FakeGateway):
    assert json.loads(cli("whoami", "--json").out)["roles"] == ["ROLE_OWNER"]


def test_tokens_are_listed_over_all_pages(cli: Cli, gateway: FakeGateway):
    done = cli("tokens", "list")
    assert "t1" in done.out
    assert "t2" in done.out
    assert "for cron" in done.out


def test_a_new_token_is_the_only_thing_on_standard_output(cli: Cli, gateway: FakeGateway):
    done = cli("tokens", "create", "--note", "for cron", "--days", "7", "--role", "owner")
    assert done.out == TOKEN + "\n"
    asked = gateway.last()
    assert isinstance(asked, auth.CreateApiTokenRequest)
    left = asked.api_token.expire_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(days=6) < left < timedelta(days=8)
    assert list(asked.api_token.roles) == [auth.ROLE_OWNER]


def test_a_role_that_does_not_exist_is_wrong_usage(cli: Cli, gateway: FakeGateway):
    done = cli("tokens", "create", "--role", "king")
    assert done.code == 2
    assert gateway.asked == []


def test_a_token_is_revoked_by_its_id(cli: Cli, gateway: FakeGateway):
    assert cli("tokens", "revoke", "t1").code == 0
    assert gateway.last() == auth.DeleteApiTokenRequest(name="apiTokens/t1")
