"""Examples that say how users and others reach headrace, installed: each computes. One release takes them on in turn.

What stands before headrace is played, as far as nothing here can be it: a load balancer's address is given to the
Service, and names lead to addresses by the visitor's hosts file. cert-manager, the Gateway, and the Ingress controller
are real ones.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import timedelta
from http.client import HTTPConnection, HTTPException

import pytest
from tests.kubernetes.addons import cert_manager, contour, envoy_gateway
from tests.kubernetes.chart.certificates import Certificates, cluster_issuer
from tests.kubernetes.chart.examples import PLAIN, Examples, one_release
from tests.kubernetes.chart.gateways import PASSTHROUGH, edge, https
from tests.kubernetes.chart.installation import RELEASE, Installation, client_pod
from tests.kubernetes.chart.load import under_load
from tests.kubernetes.running import Kubernetes, image, until

from headrace_chassis.tls.certificates import Authority

pytestmark = pytest.mark.usefixtures("custom_resources")
HOST = "headrace.example.org"
INGRESS_HOST = "apps.example.org"
# For documentation only: no machine has it.
LOAD_BALANCER = "203.0.113.7"
PUBLIC = "public-authority"
# As a browser does: the link gives a cookie, the page a token, and its websocket the figures.
DASHBOARD = f"""{PLAIN}
import asyncio, http.cookiejar, os, re, urllib.request
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

os.environ["SSL_CERT_FILE"] = os.environ["DASK_HEADRACE__TLS__CA_FILE"]
jar = http.cookiejar.CookieJar()
browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))

async def first_message(address, token):
    headers = {{"Cookie": "; ".join(f"{{each.name}}={{each.value}}" for each in jar)}}
    request = HTTPRequest(address.replace("https", "wss", 1) + "/ws", headers=headers)
    return await (await websocket_connect(request, subprotocols=["bokeh", token])).read_message()

with headrace.Gateway() as gateway, gateway.new_cluster() as cluster:
    with browser.open(cluster.dashboard_link, timeout=60) as page:
        address, text = page.url.partition("?")[0], page.read().decode()
    [token] = re.findall('"token":"([^"]+)"', text)
    print("dashboard", address, asyncio.run(first_message(address, token)))
"""


@pytest.fixture(scope="module")
def examples(
    kubernetes: Kubernetes, custom_resources: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Examples]:
    with one_release(kubernetes, tmp_path_factory.mktemp("values"), "access") as release:
        yield release


@pytest.fixture(scope="module")
def gateway_class(kubernetes: Kubernetes, custom_resources: None) -> Iterator[str]:
    with envoy_gateway(kubernetes) as name:
        yield name


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The authority that certifies public names."""
    return Authority.create("public authority", timedelta(days=1))


def test_cert_manager(examples: Examples, authority: Authority, kubernetes: Kubernetes) -> None:
    with cert_manager(kubernetes) as place, cluster_issuer(kubernetes, examples.namespace, authority, place) as issuer:
        release = examples.take("cert-manager", names={"letsencrypt": issuer})
        _publish(release, authority)
        visitor = _visit(release, {HOST: _cluster_ip(release)}, f"https://{HOST}", trusts=PUBLIC)
        assert "result 45" in visitor
        # Pods have nothing but what the chart gives them, and no public certificate is for the Service.
        assert "result 45" in release.run("inside", PLAIN)

        certificates = Certificates(release, HOST)
        # A pod that mounted a Secret before cert-manager wrote it again has the new one some seconds later.
        until(lambda: certificates.served() == certificates.issued(), "those that were issued are served")
        with under_load(release) as load:
            certificates.renew()
            until(lambda: certificates.served() == certificates.issued(), "the renewed ones are served", within=300)
            assert "result 45" in release.run("inside", PLAIN)
            load.end()


def test_load_balancer(examples: Examples, authority: Authority, kubernetes: Kubernetes) -> None:
    _public_secret(kubernetes, examples.namespace, "headrace-example-org", [HOST], authority)
    ranges = {"loadBalancerSourceRanges": ["10.0.0.0/8"]}
    release = examples.take("load-balancer", {"proxy": {"service": ranges}}, hooks=True)
    _give_address(release)
    _publish(release, authority)
    assert "result 45" in _visit(release, {HOST: LOAD_BALANCER}, f"https://{HOST}", trusts=PUBLIC)
    assert "The sum of 0 to 999 is 499500" in release.test()


def test_ingress(examples: Examples, kubernetes: Kubernetes, authority: Authority) -> None:
    with contour(kubernetes) as place:
        _public_secret(kubernetes, examples.namespace, "apps-example-org", [INGRESS_HOST], authority)
        release = examples.take("ingress", hooks=True)
        _give_address(release)
        _publish(release, authority)
        address = kubernetes.get("service", "envoy", "-n", place)["spec"]["clusterIP"]
        _await_headrace(address, INGRESS_HOST, "/headrace")
        hosts, proxy = {INGRESS_HOST: address, HOST: LOAD_BALANCER}, f"{HOST}:443"
        visitor = _visit(release, hosts, f"https://{INGRESS_HOST}/headrace", proxy, trusts=PUBLIC, script=DASHBOARD)
        assert "result 45" in visitor
        [dashboard] = re.findall(r"dashboard (\S+) .*\bACK\b", visitor)
        assert dashboard.startswith(f"https://{INGRESS_HOST}:443/headrace/clusters/")
    # Other Ingress controllers pass gRPC-Web on as it is, by HTTP/1.1 to the Service that the Ingress names.
    [rule] = release.get("ingress", RELEASE)["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    hosts[INGRESS_HOST] = release.get("service", backend["name"])["spec"]["clusterIP"]
    assert "result 45" in _visit(release, hosts, f"https://{INGRESS_HOST}:{backend['port']['number']}/headrace", proxy)


def test_gateway_api(examples: Examples, kubernetes: Kubernetes, gateway_class: str) -> None:
    with edge(kubernetes, gateway_class, [PASSTHROUGH | {"port": 443}]) as gateway:
        release = examples.take("gateway-api", names={"gateways": gateway.namespace}, hooks=True)
        gateway.await_routes(release, "tlsroutes")
        _await_headrace(gateway.address(), HOST)
        assert "result 45" in _visit(release, {HOST: gateway.address()}, address=f"https://{HOST}")


def test_gateway_api_http(examples: Examples, kubernetes: Kubernetes, gateway_class: str, authority: Authority) -> None:
    listeners = [https("edge-certificate"), PASSTHROUGH | {"port": 8443}]
    with edge(kubernetes, gateway_class, listeners) as gateway:
        _public_secret(kubernetes, gateway.namespace, "edge-certificate", [HOST], authority)
        release = examples.take("gateway-api-http", names={"gateways": gateway.namespace}, hooks=True)
        gateway.await_routes(release, "tlsroutes", "httproutes")
        _await_headrace(gateway.address(), HOST)
        _publish(release, authority)
        hosts, proxy = {HOST: gateway.address()}, f"{HOST}:8443"
        visitor = _visit(release, hosts, f"https://{HOST}", proxy, trusts=PUBLIC, script=DASHBOARD)
        assert "result 45" in visitor
        [dashboard] = re.findall(r"dashboard (\S+) .*\bACK\b", visitor)
        assert dashboard.startswith(f"https://{HOST}:443/clusters/")


def test_monitoring(examples: Examples) -> None:
    release = examples.take("monitoring")
    made = release.get("podmonitors,scrapeconfigs,prometheusrules")["items"]
    assert {each["metadata"]["labels"]["release"] for each in made} == {"prometheus"}
    assert {each["kind"] for each in made} == {"PodMonitor", "ScrapeConfig", "PrometheusRule"}
    # Its Prometheus is not there: what is idle is not known then, and nothing else depends on it.
    assert "result 45" in release.run("inside", PLAIN)


def test_mesh_istio(examples: Examples) -> None:
    release = examples.take("mesh-istio", hooks=True)
    made = release.get("peerauthentications,authorizationpolicies")["items"]
    assert {each["kind"] for each in made} == {"PeerAuthentication", "AuthorizationPolicy"}
    assert "The sum of 0 to 999 is 499500" in release.test()


def _visit(
    release: Installation,
    hosts: Mapping[str, str],
    address: str,
    proxy_address: str = "",
    trusts: str = "headrace-client",
    script: str = PLAIN,
) -> str:
    """What a pod prints that reaches headrace as users outside do, with these names in its hosts file.

    It trusts the authority that a ConfigMap has.
    """
    name = "outside"
    pod = client_pod(release.namespace, name, script, image("headrace-dask"))
    environment = {"DASK_HEADRACE__ADDRESS": address, "DASK_HEADRACE__TLS__CA_FILE": "/etc/visitor/ca.crt"}
    if proxy_address:
        environment["DASK_HEADRACE__PROXY_ADDRESS"] = proxy_address
    [container] = pod["spec"]["containers"]
    container["env"] = [{"name": key, "value": value} for key, value in environment.items()]
    container["volumeMounts"] = [{"name": "visitor", "mountPath": "/etc/visitor"}]
    pod["spec"]["volumes"] = [{"name": "visitor", "configMap": {"name": trusts}}]
    pod["spec"]["hostAliases"] = [{"ip": ip, "hostnames": [host]} for host, ip in hosts.items()]
    release.kubernetes.apply(pod)
    return release.finish(name)


def _publish(release: Installation, authority: Authority) -> None:
    """Gives visitors the authority of public names, which systems have else."""
    metadata = {"name": PUBLIC, "namespace": release.namespace}
    data = {"ca.crt": authority.cert_pem.decode()}
    release.kubernetes.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def _cluster_ip(release: Installation) -> str:
    return release.get("service", RELEASE)["spec"]["clusterIP"]


def _give_address(release: Installation) -> None:
    """Gives the Service an address that leads to it, as a cloud does that has made a load balancer for it."""
    patch = f'{{"status": {{"loadBalancer": {{"ingress": [{{"ip": "{LOAD_BALANCER}"}}]}}}}}}'
    release.kubectl("patch", "service", RELEASE, "--subresource=status", "-p", patch)
    connect = f"import socket; print(socket.create_connection(('{LOAD_BALANCER}', 443), 2))"
    inside = ("exec", f"deploy/{RELEASE}-controller", "--", "python3", "-c", connect)
    until(lambda: release.kubectl(*inside), "connections to the address are accepted")


def _await_headrace(address: str, host: str, path: str = "/") -> None:
    """Waits until headrace answers there: what stands before it has its routes some time after the API says so."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def answers() -> bool:
        connection = HTTPConnection(host)
        try:
            with socket.create_connection((address, 443), 5) as plain:
                connection.sock = context.wrap_socket(plain, server_hostname=host)
                connection.request("GET", path)
                return b"This is a headrace gateway" in connection.getresponse().read()
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    until(answers, f"headrace answers as {host}")


def _public_secret(kubernetes: Kubernetes, namespace: str, name: str, hosts: list[str], authority: Authority) -> None:
    leaf = authority.issue(hosts[0], timedelta(days=1), dns_names=hosts)
    files = {"tls.crt": leaf.cert_pem, "tls.key": leaf.key_pem, "ca.crt": authority.cert_pem}
    data = {key: base64.b64encode(value).decode() for key, value in files.items()}
    metadata = {"name": name, "namespace": namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}
    kubernetes.apply(secret)
