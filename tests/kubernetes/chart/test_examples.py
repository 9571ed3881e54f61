"""Each file of deploy/helm/examples: what it renders to is accepted by the API server and by the services."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.kubernetes.chart.examples import one_release
from tests.kubernetes.running import Kubernetes

from headrace_auth.config import AuthSettings
from headrace_chassis.settings import ServiceSettings
from headrace_controller.app import check_policy
from headrace_controller.config import Settings as ControllerSettings
from headrace_proxy.config import Settings as ProxySettings

pytestmark = pytest.mark.usefixtures("custom_resources")
HELM = Path(__file__).parents[3] / "deploy" / "helm"
EXAMPLES = sorted(path.stem for path in (HELM / "examples").glob("*.yaml"))
SETTINGS: dict[str, type[ServiceSettings]] = {
    "auth": AuthSettings,
    "controller": ControllerSettings,
    "proxy": ProxySettings,
}
Kubectl = Callable[..., str]
Objects = list[dict[str, Any]]


@pytest.fixture(scope="module")
def namespace(kubectl: Kubectl, namespace: str) -> str:
    """A namespace that admits only pods of the PodSecurity standard `restricted`."""
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    return namespace


@pytest.fixture(scope="module", params=EXAMPLES)
def rendered(request: pytest.FixtureRequest, helm: Callable[..., str], namespace: str) -> Objects:
    """All objects of an example, those of hooks included."""
    file = HELM / "examples" / f"{request.param}.yaml"
    text = helm("template", "headrace", str(HELM / "headrace"), "-n", namespace, "-f", str(file))
    return [document for document in yaml.safe_load_all(text) if document]


def test_each_example_is_installed() -> None:
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_examples_of_*.py"))
    tests = set(re.findall(r"^def test_(\w+)\(", text, re.MULTILINE))
    assert {name.replace("_", "-") for name in tests} >= set(EXAMPLES)


def test_where_the_installation_failed_each_further_example_says_why(kubernetes: Kubernetes, tmp_path: Path) -> None:
    with one_release(kubernetes, tmp_path, "failed") as examples:
        for example in ("trial", "ingress"):
            with pytest.raises(AssertionError, match=r"namespaces.*no-such-namespace"):
                examples.take(example, {"daskNamespace": "no-such-namespace"})


def _pods_of(objects: Objects) -> Iterator[dict[str, Any]]:
    """The pods that the objects lead to, each as an object of its own."""
    for each in objects:
        spec = each.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if each["kind"] == "Pod":
            yield each
        elif template:
            claims = [
                {"name": claim["metadata"]["name"], "emptyDir": {}} for claim in spec.get("volumeClaimTemplates", ())
            ]
            named = {**template.get("metadata", {}), "name": each["metadata"]["name"]}
            yield {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": named | {"namespace": each["metadata"]["namespace"]},
                "spec": {
                    **template["spec"],
                    # A service account that is only about to be made is none that a pod could be checked with.
                    "serviceAccountName": "default",
                    "volumes": [*template["spec"].get("volumes", ()), *claims],
                },
            }


@pytest.fixture(scope="module")
def namespaces(kubectl: Kubectl, rendered: Objects) -> Iterator[None]:
    """The namespaces that an example says must exist."""
    there = set(kubectl("get", "namespaces", "-o", "jsonpath={.items[*].metadata.name}").split())
    missing = {each["metadata"]["namespace"] for each in rendered if "namespace" in each["metadata"]} - there
    for name in missing:
        kubectl("create", "namespace", name)
    yield
    for name in missing:
        kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.usefixtures("namespaces")
def test_the_api_server_accepts_every_object_and_every_pod(kubectl: Kubectl, rendered: Objects) -> None:
    pods = [each for each in _pods_of(rendered) if each not in rendered]
    assert len(pods) > 5
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*rendered, *pods]})
    kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=listed)


def test_the_proxy_starts_beside_its_envoy(rendered: Objects) -> None:
    """Envoy listens once the proxy has told it of its upstreams: the proxy must not start later than Envoy listens."""
    [proxy] = [
        each for each in rendered if each["kind"] == "Deployment" and each["metadata"]["name"].endswith("-proxy")
    ]
    [envoy] = [each for each in proxy["spec"]["template"]["spec"]["initContainers"] if each["name"] == "envoy"]
    assert "startupProbe" not in envoy
    assert envoy["readinessProbe"]["tcpSocket"] == {"port": "gateway"}


def test_the_services_accept_their_settings_and_the_policy(rendered: Objects, tmp_path: Path) -> None:
    maps = {each["metadata"]["name"]: each["data"] for each in rendered if each["kind"] == "ConfigMap"}
    policy = tmp_path / "policy.yaml"
    policy.write_text(maps["headrace-policy"]["policy.yaml"])
    for service, model in SETTINGS.items():
        given = yaml.safe_load(maps[f"headrace-{service}"]["settings.yaml"])
        if "policy_file" in given:
            given["policy_file"] = str(policy)
        file = tmp_path / f"{service}.yaml"
        file.write_text(yaml.safe_dump(given))
        settings = model.load(file)
        if isinstance(settings, ControllerSettings):
            check_policy(settings)
