"""The client reads the server's version, and warns of a version that it is not tested with."""

from __future__ import annotations

import pytest
from tests.client.fake_headrace import FakeHeadrace

from headrace import Gateway, TokenAuth, __version__, errors
from headrace._wire.version import are_far_apart


def test_a_server_far_from_this_client_is_warned_of_once(
    fake: FakeHeadrace, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    fake.version = "9.9.1"
    gateway.whoami()
    gateway.list_clusters()
    with Gateway(auth=TokenAuth("bob-secret")) as another:
        another.whoami()
    [warning] = [record.getMessage() for record in caplog.records if record.name == "headrace"]
    assert f"this client is headrace {__version__}, the server at {fake.address} is 9.9.1" in warning
    assert "pip install 'headrace==9.9.*'" in warning


def test_a_server_of_this_release_is_not_warned_of(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    gateway.whoami()
    assert [record for record in caplog.records if record.name == "headrace"] == []


def test_a_server_that_refuses_everything_is_warned_of_too(
    fake: FakeHeadrace, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    fake.version = "9.9.2"
    fake.fail("Login", errors.InvalidRequest("an unknown kind of credential"))
    with pytest.raises(errors.InvalidRequest):
        gateway.whoami()
    assert "is 9.9.2: more than one minor release apart" in caplog.text


def test_an_upgrade_of_the_server_is_noticed(fake: FakeHeadrace, gateway: Gateway) -> None:
    for version in ("1.1.0", "1.2.0"):
        fake.auth.server_version = version
        assert gateway.get_versions()["server"] == {"version": version}


def test_a_server_that_gives_no_version_has_none(fake: FakeHeadrace, gateway: Gateway) -> None:
    fake.auth.server_version = fake.version = ""
    assert gateway.get_versions()["server"] == {"version": None}


@pytest.mark.parametrize(
    ("one", "other", "far"),
    [
        ("0.1.0", "0.1.9", False),
        ("0.1.0", "0.2.0", False),
        ("0.3.0", "0.2.7.dev3", False),
        ("0.1.0", "0.3.0", True),
        ("0.10.0", "0.2.0", True),
        ("0.9.0", "1.0.0", True),
        ("0.1.0", "unknown", False),
    ],
)
def test_more_than_one_minor_release_apart_is_far(one: str, other: str, far: bool) -> None:
    assert are_far_apart(one, other) is far
    assert are_far_apart(other, one) is far
