"""Examples of values, installed: what differs in substance from an installation without values."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.kubernetes.chart.installation import PROMETHEUS, Installation
from tests.kubernetes.running import Kubernetes

EXAMPLES = Path(__file__).parents[3] / "deploy" / "helm" / "examples"
# Each beside the values for a small node: the file, and what only a larger environment has.
INSTALLED = {"namespace-only": {}, "mesh-istio": {"mesh": {"policies": "none"}}}
# Asks the page of a scheduler's port 8787 without headrace's key, as a neighbour on the network would.
ASK = """
import time, urllib.error, urllib.request
import headrace

with headrace.Gateway() as gateway, gateway.new_cluster() as cluster:
    with cluster.get_client() as client:
        host = client.scheduler_info()["address"].partition("://")[2].partition(":")[0]
        print("port", client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.http_server.port))
    for path in ("/status", "/metrics", "/metrics/headrace", "/health", "/"):
        while True:
            try:
                print(path, urllib.request.urlopen(f"http://{host}:8787{path}", timeout=2).status)
            except urllib.error.HTTPError as refusal:
                print(path, refusal.code)
            except OSError:
                print("waiting for the label", flush=True)
                continue
            break
"""


@pytest.fixture(scope="module", params=INSTALLED)
def installed(
    request: pytest.FixtureRequest, kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """A release with the values of an example, in a namespace that enforces PodSecurity `restricted`."""
    namespace = f"test-{request.param}-{secrets.token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    values = tmp_path_factory.mktemp("values") / "values.yaml"
    installation = Installation(kubernetes, namespace, values)
    values.write_text((EXAMPLES / "trial.yaml").read_text())
    files = (EXAMPLES / f"{request.param}.yaml", values.with_name("small.json"), values.with_name("more.yaml"))
    files[1].write_text(json.dumps(installation.small))
    files[2].write_text(yaml.safe_dump(INSTALLED[request.param]))
    try:
        installation.install(*(f"--values={file}" for file in files))
        yield installation
        installation.uninstall()
    finally:
        kubernetes.kubectl("delete", "namespace", namespace, "--wait=false")


def test_it_computes(installed: Installation) -> None:
    assert "The sum of 0 to 999 is 499500" in installed.test()


def test_a_dashboard_refuses_who_reaches_its_port_without_envoy(installation: Installation) -> None:
    installation.begin("neighbour", ASK)
    installation.kubectl("label", "pod", "neighbour", *(f"{key}={value}" for key, value in PROMETHEUS.items()))
    printed = installation.finish("neighbour")
    assert "port 8787" in printed
    assert [line for line in printed.splitlines() if line.startswith("/")] == [
        *("/status 403", "/metrics 403", "/metrics/headrace 403", "/health 403", "/ 403")
    ]
