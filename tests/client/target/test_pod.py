"""How a program in a pod of Kubernetes finds headrace and logs in. A real API server is in tests/kubernetes/login."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dask.config
import pytest

from headrace import BasicAuth, KubernetesAuth, get_auth
from headrace._dask.scheduler_access import SchedulerAccess
from headrace._target.pod import Pod
from headrace._target.target import Target
from headrace.errors import InvalidRequest, Unauthenticated
from headrace_chassis.tls.certificates import Authority

ADDRESS = "https://headrace.team.svc:443"


@dataclass
class FakeApiServer:
    """Serves ConfigMaps over TLS to whom the pod's token names."""

    secrets: Path
    maps: dict[str, object] = field(default_factory=dict[str, object])
    refused: set[str] = field(default_factory=set[str])
    asked: list[str] = field(default_factory=list[str])

    def offer(self, namespace: str, **data: object) -> None:
        path = f"/api/v1/namespaces/{namespace}/configmaps/headrace-client"
        self.maps[path] = {"data": {name.replace("_", "."): value for name, value in data.items()}}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApiServer]:
    secrets = tmp_path / "secrets"
    account = secrets / "kubernetes.io" / "serviceaccount"
    account.mkdir(parents=True)
    authority = Authority.create("cluster", timedelta(days=1))
    leaf = authority.issue("api", timedelta(days=1), ip_addresses=["127.0.0.1"])
    (account / "ca.crt").write_bytes(authority.cert_pem)
    (account / "namespace").write_text("team")
    (account / "token").write_text("pods-token\n")
    fake = FakeApiServer(secrets)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.asked.append(self.path)
            known = self.headers["authorization"] == "Bearer pods-token"
            status = 401 if not known else 403 if self.path in fake.refused else 200 if self.path in fake.maps else 404
            content = json.dumps(fake.maps.get(self.path, {}) if status == 200 else {}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 its name there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "api.pem").write_bytes(leaf.cert_pem + leaf.key_pem)
    context.load_cert_chain(tmp_path / "api.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.server_address[1]))
    monkeypatch.setenv("HEADRACE_SECRETS_DIR", str(secrets))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_outside_of_kubernetes_there_is_no_pod() -> None:
    assert Pod.find({}) is None
    assert isinstance(get_auth(), BasicAuth)


def test_the_api_server_may_have_an_address_of_either_family() -> None:
    for host, address in {"10.96.0.1": "https://10.96.0.1:443", "fd00::1": "https://[fd00::1]:443"}.items():
        pod = Pod.find({"KUBERNETES_SERVICE_HOST": host})
        assert pod is not None
        assert pod.api == address


def test_what_the_own_namespace_offers_is_taken_first(api: FakeApiServer) -> None:
    api.offer("team", address=ADDRESS, ca_crt="pem of the team")
    api.offer("headrace", address="https://other:443")
    target = Target.resolve()
    assert (target.address, target.ca_pem) == (ADDRESS, b"pem of the team")
    assert isinstance(target.auth, KubernetesAuth)
    assert target.auth.login_request().token.token == "pods-token"
    assert target.auth.login_request().method == "kubernetes"
    assert len(api.asked) == 1


def test_what_the_namespace_headrace_offers_is_taken_next(api: FakeApiServer) -> None:
    api.offer("headrace", address="https://headrace.headrace.svc", ca_crt="pem")
    target = Target.resolve()
    assert (target.address, target.ca_pem) == ("https://headrace.headrace.svc:443", b"pem")


def test_the_address_alone_finds_the_authority_again(api: FakeApiServer) -> None:
    """A cluster's own Gateway is made with the address of the first one."""
    api.offer("team", address=ADDRESS, ca_crt="pem")
    again = Target.resolve(Target.resolve().address)
    assert again.ca_pem == b"pem"
    assert again.trusts == "the authority in the ConfigMap headrace-client"


def test_a_way_to_schedulers_that_is_offered_is_taken_where_none_is_configured(api: FakeApiServer) -> None:
    api.offer("team", address=ADDRESS, headrace_yaml="headrace: {connect: proxied}")
    target = Target.resolve()
    assert SchedulerAccess(mode=target.connect).mode == "proxied"
    assert SchedulerAccess(mode="nonsense").mode == SchedulerAccess().mode == "auto"
    with dask.config.set({"headrace.connect": "direct"}):
        assert SchedulerAccess(mode=target.connect).mode == "direct"


def test_the_configuration_comes_first(api: FakeApiServer) -> None:
    api.offer("team", address=ADDRESS)
    with dask.config.set({"headrace.address": "https://configured:1", "headrace.auth.type": "basic"}):
        target = Target.resolve()
    assert target.address == "https://configured:1"
    assert isinstance(target.auth, BasicAuth)
    assert api.asked == []


@pytest.mark.parametrize(
    ("maps", "says"),
    [
        ({}, "ConfigMap headrace-client of the namespace team does not exist"),
        ({"team": {"other": "x"}}, "of the namespace team has no valid content"),
        ({"team": {"address": 7}}, "of the namespace team has no valid content"),
        ({"team": {"address": ADDRESS, "ca_crt": 7}}, "of the namespace team has no valid content"),
        ({"team": {"address": ADDRESS, "headrace_yaml": "a: ["}}, "of the namespace team has no valid content"),
        ({"team": {"address": ADDRESS, "headrace_yaml": "[1]"}}, "of the namespace team has no valid content"),
    ],
)
def test_without_an_offer_it_says_what_to_mount(
    api: FakeApiServer, maps: dict[str, dict[str, object]], says: str
) -> None:
    for namespace, data in maps.items():
        api.offer(namespace, **data)
    with pytest.raises(InvalidRequest) as caught:
        Target.resolve()
    assert says in str(caught.value)
    assert "no service headrace is in team or headrace" in str(caught.value)
    assert "mount the ConfigMap headrace-client of headrace's namespace at /etc/dask" in str(caught.value)


def test_a_config_map_that_must_not_be_read_is_told(api: FakeApiServer) -> None:
    api.refused.add("/api/v1/namespaces/team/configmaps/headrace-client")
    with pytest.raises(InvalidRequest, match="namespace team must not be read"):
        Target.resolve()


def test_an_api_server_that_is_not_the_clusters_gets_no_token(api: FakeApiServer) -> None:
    api.offer("team", address=ADDRESS)
    other = Authority.create("other", timedelta(days=1))
    (api.secrets / "kubernetes.io" / "serviceaccount" / "ca.crt").write_bytes(other.cert_pem)
    with pytest.raises(InvalidRequest, match=r"cannot be asked for .*CERTIFICATE_VERIFY_FAILED"):
        Target.resolve()
    assert api.asked == []


def test_a_token_that_is_made_for_headrace_is_preferred_and_read_at_each_login(api: FakeApiServer) -> None:
    made = api.secrets / "headrace.dev" / "user-token"
    made.mkdir(parents=True)
    (made / "token").write_text("first")
    auth = get_auth()
    assert auth.login_request().token.token == "first"
    key = auth.cache_key()
    (made / "token").write_text("renewed\n")
    assert auth.login_request().token.token == "renewed"
    assert auth.cache_key() == key, "a renewed token needs no other connection"


def test_a_pod_without_a_token_says_what_to_set(api: FakeApiServer) -> None:
    (api.secrets / "kubernetes.io" / "serviceaccount" / "token").unlink()
    with pytest.raises(Unauthenticated, match="automountServiceAccountToken"):
        KubernetesAuth()
    assert isinstance(get_auth(), BasicAuth)
    with pytest.raises(
        InvalidRequest, match="this pod has no service account token to read the ConfigMap headrace-client with"
    ):
        Target.resolve()


def test_outside_of_kubernetes_it_says_so() -> None:
    with pytest.raises(Unauthenticated, match="runs in none"):
        get_auth("kubernetes")
