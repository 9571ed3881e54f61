"""The chart's NetworkPolicies, by connections between real pods and on a plugin that enforces them."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from tests.kubernetes.network.pods import PORTS, Kubectl, Pod, manifest, reached_by_all
from tests.kubernetes.running import until

CHART = Path(__file__).parents[3] / "deploy" / "helm" / "headrace"
NODE_NETWORK = Path("/run/netns/test-kubernetes")
# Addresses that the node of the test cluster is given for these tests: one of the internet, a server on a private
# network, another one, and where clouds keep their metadata service.
INTERNET, FILES, DATABASE, METADATA = "198.51.100.7", "10.99.1.7", "10.99.2.7", "169.254.169.254"
SERVE = """
import socket, sys, time
servers = [socket.create_server((address, 8080)) for address in sys.argv[1:]]
print(flush=True)
time.sleep(600)
"""


def _service(component: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "headrace",
        "app.kubernetes.io/instance": "net",
        "app.kubernetes.io/component": component,
    }


def _dask(component: str, deployment: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "dask",
        "app.kubernetes.io/component": component,
        "headrace.dev/deployment": deployment,
    }


class Where(NamedTuple):
    """Pods by their name in the tables below: namespace (release, dask, other) and labels."""

    namespace: str
    labels: dict[str, str]


ROLES = {
    **{name: Where("release", _service(name)) for name in ("auth", "controller", "proxy", "valkey")},
    "scheduler": Where("release", _dask("scheduler", "ours")),
    "worker": Where("release", _dask("worker", "ours")),
    "far worker": Where("dask", _dask("worker", "ours")),
    "far scheduler": Where("dask", _dask("scheduler", "ours")),
    "their worker": Where("release", _dask("worker", "theirs")),
    "prometheus": Where("other", {"app": "prometheus"}),
    "notebook": Where("other", {"app": "notebook"}),
    "stranger": Where("other", {"app": "stranger"}),
    # In another namespace our labels mean nothing.
    "false proxy": Where("other", _service("proxy")),
    "false worker": Where("other", _dask("worker", "ours")),
}
ALL: set[int] = set(PORTS)
NONE: set[int] = set()
DASK = ("scheduler", "worker", "far worker", "far scheduler")
# Which ports of whom each pod reaches; every pair that is not here: none.
REACHES: dict[str, dict[str, set[int]]] = {
    "proxy": {
        "auth": {50051, 50052},
        "controller": {50051, 50052},
        "scheduler": {8786, 8787},
        "far scheduler": {8786, 8787},
    },
    "auth": {"controller": {50052}, "valkey": {6379}},
    "controller": {"auth": {50051, 50052}, "valkey": {6379}, "scheduler": {8787}, "far scheduler": {8787}},
    **{
        sender: {
            "controller": {50051},
            "scheduler": ALL - {8787},
            "far scheduler": ALL - {8787},
            "worker": ALL,
            "far worker": ALL,
        }
        for sender in DASK
    },
    "prometheus": {
        "auth": {9100},
        "controller": {9100},
        "proxy": {9100, 9101},
        "scheduler": {8787},
        "far scheduler": {8787},
    },
    "notebook": {"scheduler": {8786}, "far scheduler": {8786}},
}
# The public port is open to all pods that may leave their own place.
PUBLIC = (
    "auth",
    "controller",
    "proxy",
    "prometheus",
    "notebook",
    "stranger",
    "false proxy",
    "false worker",
    "their worker",
)
# What policies of this chart do not protect.
FREE = ("their worker", "prometheus", "notebook", "stranger", "false proxy", "false worker")
VALUES = {
    "deployment": "ours",
    "networkPolicy": {
        "dask": {
            "privateNetworks": ["10.99.1.0/24"],
            "clients": [
                {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "notebook"}}},
            ],
        },
        "prometheus": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "prometheus"}}}],
    },
}


@pytest.fixture(scope="module")
def namespaces(kubectl: Kubectl) -> Iterator[dict[str, str]]:
    names = {role: f"k6-net-{role}-{secrets.token_hex(3)}" for role in ("release", "dask", "other")}
    for name in names.values():
        kubectl("create", "namespace", name)
    for name in names.values():
        until(lambda name=name: kubectl("get", "serviceaccount", "default", "-n", name), f"{name} is usable")
    yield names
    kubectl("delete", "namespace", "--wait=false", *names.values())


@pytest.fixture(scope="module")
def pods(
    kubectl: Kubectl,
    helm: Callable[..., str],
    image: Callable[[str], str],
    namespaces: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Pod]:
    """All pods, under the chart's policies."""
    values = tmp_path_factory.mktemp("values") / "values.yaml"
    values.write_text(yaml.safe_dump(VALUES | {"daskNamespaces": [namespaces["dask"]]}))
    shown = [option for name in ("dask", "services") for option in ("-s", f"templates/networkpolicies/{name}.yaml")]
    policies = helm("template", "net", str(CHART), "-n", namespaces["release"], "-f", str(values), *shown)
    kubectl("apply", "--server-side", "-f", "-", stdin=policies)
    named = {role: Pod(role.replace(" ", "-"), namespaces[where.namespace]) for role, where in ROLES.items()}
    made = [manifest(pod.name, pod.namespace, image("plain-dask"), ROLES[role].labels) for role, pod in named.items()]
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))
    for namespace in namespaces.values():
        kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod", "--all", "--timeout=240s")
    listed = json.loads(kubectl("get", "pods", "-A", "-o", "json"))["items"]
    addresses = {
        (pod["metadata"]["namespace"], pod["metadata"]["name"]): pod["status"].get("podIP", "") for pod in listed
    }
    return {role: Pod(pod.name, pod.namespace, addresses[pod.namespace, pod.name]) for role, pod in named.items()}


def _expected(sender: str, receiver: str) -> set[int]:
    if receiver in FREE:
        confined = sender in (*DASK, "valkey")
        return NONE if confined else ALL
    allowed = REACHES.get(sender, {}).get(receiver, NONE)
    return allowed | {8443} if receiver == "proxy" and sender in PUBLIC else allowed


def test_each_pod_reaches_what_it_needs_and_nothing_else(kubectl: Kubectl, pods: dict[str, Pod]) -> None:
    asked = {
        sender: [(receiver.ip, port) for receiver in pods.values() if receiver != sender for port in PORTS]
        for sender in pods.values()
    }
    wrong = ["no question was answered"]

    def as_expected() -> bool:
        answers = reached_by_all(kubectl, asked)
        wrong[:] = [
            f"{sender} {'reaches' if open_ else 'does not reach'} {receiver}:{port}"
            for sender, by in pods.items()
            for receiver, to in pods.items()
            if sender != receiver
            for port in PORTS
            if (open_ := answers[by][to.ip, port]) != (port in _expected(sender, receiver))
        ]
        return not wrong

    # The plugin hears of pods and policies by and by, and drops what it has no time for.
    with suppress(AssertionError):
        until(as_expected, "all is as the policies say", within=60)
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def outside() -> Iterator[None]:
    """Servers on the node at addresses that are not the cluster's."""
    if not NODE_NETWORK.exists():
        pytest.skip("only the test cluster's node can be given addresses")
    inside = ("nsenter", f"--net={NODE_NETWORK}", "--")
    addresses = (INTERNET, FILES, DATABASE, METADATA)
    for address in addresses:
        subprocess.run([*inside, "ip", "address", "replace", f"{address}/32", "dev", "lo"], check=True)
    server = subprocess.Popen([*inside, "python3", "-c", SERVE, *addresses], stdout=subprocess.PIPE)
    assert server.stdout is not None
    server.stdout.readline()
    yield
    server.kill()
    server.wait()
    server.stdout.close()
    for address in addresses:
        subprocess.run([*inside, "ip", "address", "delete", f"{address}/32", "dev", "lo"], check=True)


@pytest.mark.usefixtures("outside")
def test_dask_pods_reach_the_internet_but_nothing_private_that_is_not_named(
    kubectl: Kubectl, pods: dict[str, Pod]
) -> None:
    places = [(address, 8080) for address in (INTERNET, FILES, DATABASE, METADATA)]
    asked = {pods[role]: places for role in (*DASK, "stranger")}
    answers = reached_by_all(kubectl, asked)
    assert list(answers[pods["stranger"]].values()) == [True] * 4  # the servers are there
    for role in DASK:
        assert answers[pods[role]] == dict(zip(places, (True, True, False, False), strict=True)), role


def test_dask_pods_reach_dns_but_not_the_api_server(kubectl: Kubectl, pods: dict[str, Pod]) -> None:
    look_up = "import socket; print(socket.gethostbyname('kubernetes.default.svc.cluster.local'))"
    worker = pods["worker"]
    address = kubectl("exec", "-n", worker.namespace, worker.name, "--", "python3", "-c", look_up).strip()
    api = [(address, 443)]
    answers = reached_by_all(kubectl, {worker: api, pods["stranger"]: api})
    assert answers == {worker: {api[0]: False}, pods["stranger"]: {api[0]: True}}
