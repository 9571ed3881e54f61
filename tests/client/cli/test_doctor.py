"""`headrace doctor` names the hop that fails."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Generator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.client.fake_headrace import FakeHeadrace

from headrace._target.local_gateway import LocalGateway
from headrace_chassis.tls.certificates import Authority

from .conftest import Cli, Done


def failed(done: Done) -> dict[str, str]:
    """The one hop that failed."""
    assert done.code == 1, done.out
    hops = [hop for hop in json.loads(done.out) if not hop["works"]]
    assert len(hops) == 1, hops
    return hops[0]


def test_all_is_well(cli: Cli, headrace: FakeHeadrace):
    done = cli("doctor")
    names = [line.split()[1] for line in done.out.splitlines()]
    hops = ["versions", "configuration", "name", "connection", "TLS", "auth", "login", "controller", "profiles"]
    assert [name for name in names if name != "policy"][:9] == hops
    assert "you get standard, and may choose gpu" in done.out
    assert "headrace 0.1.0 answers; ways to log in: api-token, password" in done.out


def test_nothing_is_configured(cli: Cli):
    hop = failed(cli("doctor", "--json"))
    assert hop["name"] == "configuration"
    assert "headrace up" in hop["message"]


def test_nothing_listens(cli: Cli):
    hop = failed(cli("doctor", "--json", "--address", "https://127.0.0.1:9"))
    assert hop["name"] == "connection"
    assert "nothing listens" in hop["message"]


def test_the_name_is_unknown(cli: Cli):
    assert failed(cli("doctor", "--json", "--address", "https://no.such.host.invalid"))["name"] == "name"


def test_the_headrace_up_that_left_its_address_has_ended(cli: Cli, tmp_path: Path):
    gone = LocalGateway(
        address="https://127.0.0.1:9", ca_file="", token="t", user="ann", pid=2**22 - 1, version="0.1.0"
    )
    gone.write(tmp_path / "data")
    (tmp_path / "ca.pem").write_text("")
    hops = json.loads(cli("doctor", "--json", "--ca-file", str(tmp_path / "ca.pem")).out)
    assert next(hop["name"] for hop in hops if not hop["works"]) == "configuration"
    assert "has ended" in hops[1]["message"]


class Silence(BaseHTTPRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Says nothing."""

    def log_error(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Says nothing."""


@pytest.fixture
def plain_http() -> Generator[str]:
    server = HTTPServer(("127.0.0.1", 0), Silence)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_plain_http_where_tls_should_be(cli: Cli, plain_http: str):
    hop = failed(cli("doctor", "--json", "--address", f"https://{plain_http}"))
    assert hop["name"] == "TLS"
    assert "does not speak TLS" in hop["message"]


def test_a_web_server_that_is_not_headrace(cli: Cli, plain_http: str):
    assert failed(cli("doctor", "--json", "--address", f"http://{plain_http}"))["name"] == "auth"


def hang_up(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Closes each connection after its handshake."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        try:
            context.wrap_socket(connection, server_side=True).close()
        except OSError:
            connection.close()


@pytest.fixture
def tls_server(tmp_path: Path) -> Generator[str]:
    """A TLS server with a certificate of its own authority."""
    leaf = Authority.create("somebody", timedelta(days=1)).issue(
        "localhost", timedelta(days=1), dns_names=("localhost",), ip_addresses=("127.0.0.1",)
    )
    (tmp_path / "server.pem").write_bytes(leaf.cert_pem + leaf.key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=hang_up, args=(listener, context))
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_certificate_of_another_authority(cli: Cli, tls_server: str, tmp_path: Path):
    other = tmp_path / "other.pem"
    other.write_bytes(Authority.create("other", timedelta(days=1)).cert_pem)
    hop = failed(cli("doctor", "--json", "--address", tls_server, "--ca-file", str(other)))
    assert hop["name"] == "TLS"
    assert "localhost" in hop["message"]
    assert "headrace.tls.ca-file" in hop["message"]


def test_a_login_that_is_refused(cli: Cli, headrace: FakeHeadrace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEADRACE_TOKEN", "wrong")
    hop = failed(cli("doctor", "--json"))
    assert hop["name"] == "login"
    assert "headrace login" in hop["message"]
