"""Where a Gateway finds headrace, and how it logs in there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import dask.config
import pytest

from headrace._target.auth import BasicAuth, TokenAuth
from headrace._target.local_gateway import LocalGateway, data_directory
from headrace._target.saved_login import SavedLogin, logins_file
from headrace._target.target import Target
from headrace.errors import HeadraceError, InvalidRequest
from headrace.v1 import auth_service_pb2


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalGateway:
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path / "data"))
    ca_file = tmp_path / "local-ca.pem"
    ca_file.write_text("pem")
    local = LocalGateway(
        address="https://127.0.0.1:8790",
        ca_file=str(ca_file),
        token="local-secret",
        user="ann",
        pid=os.getpid(),
        version="0.1.0",
    )
    local.write()
    return local


def test_without_any_address_the_error_says_what_to_do() -> None:
    with pytest.raises(InvalidRequest, match=r"DASK_HEADRACE__ADDRESS.*headrace up"):
        Target.resolve()


def test_the_headrace_of_this_machine_is_found(local: LocalGateway) -> None:
    target = Target.resolve()
    assert target.address == local.address
    assert target.ca_pem == b"pem"
    assert target.local == local
    assert _credential(target).token.token == "local-secret"


def test_its_file_is_for_its_owner_only(local: LocalGateway) -> None:
    path = data_directory() / "gateway.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "local-secret" not in repr(local)
    assert local.running


def test_a_file_that_others_may_change_is_not_trusted(local: LocalGateway) -> None:
    path = data_directory() / "gateway.json"
    path.chmod(0o666)
    with pytest.raises(HeadraceError, match="can be changed by others"):
        Target.resolve()
    assert Target.resolve("https://example.org").local is None


def test_a_broken_file_is_told(local: LocalGateway) -> None:
    (data_directory() / "gateway.json").write_text("{")
    with pytest.raises(HeadraceError, match=r"gateway\.json cannot be read.*headrace up"):
        Target.resolve()


def test_naming_its_address_gives_its_authority_and_token_too(local: LocalGateway) -> None:
    target = Target.resolve("https://127.0.0.1:8790/")
    assert target.ca_file == local.ca_file
    assert _credential(target).token.token == "local-secret"


def test_a_saved_login_is_used_for_its_address(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text("pem")
    saved = SavedLogin(address="https://example.org:443", user="ann", token="saved", ca_file=str(ca_file))
    saved.write()
    assert stat.S_IMODE(logins_file().stat().st_mode) == 0o600
    target = Target.resolve("example.org")
    assert _credential(target).token.token == "saved"
    assert target.ca_pem == b"pem"
    assert SavedLogin.remove(saved.address)
    assert not SavedLogin.remove(saved.address)
    assert isinstance(Target.resolve("example.org").auth, BasicAuth)


def test_what_is_given_comes_before_what_is_configured() -> None:
    settings = {"headrace.address": "https://a:1", "headrace.proxy-address": "b:2", "headrace.auth.type": "basic"}
    with dask.config.set(settings):
        configured = Target.resolve()
        given = Target.resolve("https://c:3", 4, "/services/headrace/", TokenAuth("t"))
    assert (configured.address, configured.proxy_address) == ("https://a:1", "gateway://b:2")
    assert (given.address, given.proxy_address) == ("https://c:3", "gateway://c:4")
    assert given.public_address == "/services/headrace"
    assert isinstance(given.auth, TokenAuth)


@pytest.mark.parametrize(
    ("address", "endpoint", "tls"),
    [
        ("https://example.org", "example.org:443", True),
        ("example.org:8790", "example.org:8790", True),
        ("http://127.0.0.1:80/", "127.0.0.1:80", False),
        ("https://[::1]:1", "[::1]:1", True),
    ],
)
def test_addresses(address: str, endpoint: str, tls: bool) -> None:
    target = Target.resolve(address)
    assert (target.endpoint, target.tls) == (endpoint, tls)
    assert target.proxy_address == f"gateway://{endpoint}"


@pytest.mark.parametrize(
    ("address", "parsed", "has_proxy"),
    [
        ("https://hub.example.org/services/dask-gateway/", "https://hub.example.org:443/services/dask-gateway", False),
        ("hub:8000/services/headrace", "https://hub:8000/services/headrace", False),
        ("http://[::1]/a/", "http://[::1]:80/a", False),
        ("https://hub/", "https://hub:443", True),
    ],
)
def test_an_address_may_have_a_path(address: str, parsed: str, has_proxy: bool) -> None:
    target = Target.resolve(address)
    assert target.address == target.public_address == parsed
    assert target.has_proxy == has_proxy
    assert Target.resolve(address, proxy_address="hub:8786").has_proxy


@pytest.mark.parametrize(
    "address",
    ["ftp://x", "https://", "https://x:many", "https://x:1/services/dask?x=1", "https://x/a b", "https://x?y"],
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(InvalidRequest, match="address"):
        Target.resolve(address)


@pytest.mark.parametrize(
    ("given", "result"),
    [(1, "h:1"), ("1", "h:1"), ("p:2", "p:2"), ("gateway://p:2", "p:2"), ("tls://p", "p:8786"), ("https://p", "p:443")],
)
def test_proxy_addresses(given: str | int, result: str) -> None:
    assert Target.resolve("https://h:9", given).proxy_address == f"gateway://{result}"


@pytest.mark.parametrize("given", ["p:many", ":1"])
def test_other_proxy_addresses_are_refused(given: str) -> None:
    with pytest.raises(InvalidRequest, match="proxy_address"):
        Target.resolve("https://h:9", given)


def test_an_authority_that_cannot_be_read_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"/nowhere\.pem cannot be read"):
        Target.resolve("https://h", ca_file="/nowhere.pem")


def _credential(target: Target) -> auth_service_pb2.LoginRequest:
    return target.auth.login_request()
