"""What clusters have besides Kubernetes and only some tests need: metrics-server, cert-manager, Envoy Gateway, Contour.

Each runs in pods, with the rights and the settings that its own project gives it, until the test has ended. A cluster
that has one already is used as it is.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml
from tests.kubernetes import images
from tests.kubernetes.definitions import await_established, module_folder
from tests.kubernetes.running import Kubernetes, of_recipe, until

METRICS = "v1beta1.metrics.k8s.io"
CERT_MANAGER = "cert-manager"
ENVOY_GATEWAY = "envoy-gateway"
CONTOUR = "contour"
LITTLE = {"requests": {"cpu": "10m", "memory": "32Mi"}}
Objects = list[dict[str, Any]]


@contextmanager
def metrics_server(kubernetes: Kubernetes) -> Generator[None]:
    """The cluster knows what each pod uses, and does so until the end."""
    if kubernetes.kubectl("get", "apiservice", METRICS, "--ignore-not-found"):
        yield
        return
    _load(kubernetes, "metrics-server")
    # No namespace can be removed while an API is known that nobody serves: the server comes first and goes last.
    objects = _metrics_server(kubernetes)
    service = [each for each in objects if each["kind"] == "APIService"]
    with _running(kubernetes, [each for each in objects if each not in service]), _there(kubernetes, service):
        kubernetes.kubectl("wait", "apiservice", METRICS, "--for=condition=Available", "--timeout=120s")
        until(lambda: kubernetes.kubectl("top", "nodes", "--no-headers"), "the use of nodes is known")
        yield


@contextmanager
def cert_manager(kubernetes: Kubernetes) -> Generator[str]:
    """The cluster has cert-manager's controllers. The definitions are there before.

    Yields the namespace in which it looks for the Secrets of ClusterIssuers.
    """
    found = kubernetes.get("deployments", "-A", "-l=app.kubernetes.io/name=cert-manager")["items"]
    if found:
        yield found[0]["metadata"]["namespace"]
        return
    _load(kubernetes, CERT_MANAGER)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CERT_MANAGER}}
    with _running(kubernetes, [namespace, *_cert_manager(kubernetes)]):
        yield CERT_MANAGER


@contextmanager
def envoy_gateway(kubernetes: Kubernetes) -> Generator[str]:
    """The cluster has Envoy Gateway, which implements the Gateway API. Definitions of the API are there before.

    Yields a GatewayClass whose Gateways are Services of the cluster's own network. It has this name and no other, since
    it goes slowly.
    """
    name = f"{ENVOY_GATEWAY}-{secrets.token_hex(3)}"
    _load(kubernetes, ENVOY_GATEWAY)
    chart = module_folder("github.com/envoyproxy/gateway", ENVOY_GATEWAY) / "charts" / "gateway-helm"
    defined = chart / "charts" / "crds" / "crds" / "generated"
    definitions = [each for file in sorted(defined.glob("*.yaml")) for each in _objects(file.read_text())]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    with (
        _defined(kubernetes, definitions),
        _running(kubernetes, [namespace, *_envoy_gateway(kubernetes, chart, name)]),
        # It alone can give them up.
        _there(kubernetes, _gateway_class(name), wait=True),
    ):
        yield name


@contextmanager
def contour(kubernetes: Kubernetes) -> Generator[str]:
    """The cluster has Contour, which implements Ingresses of the class `contour`.

    Yields the namespace in which the Service `envoy` is, with this name and no other, since it goes slowly.
    """
    name = f"{CONTOUR}-{secrets.token_hex(3)}"
    _load(kubernetes, CONTOUR)
    examples = module_folder("github.com/projectcontour/contour", CONTOUR) / "examples"
    definitions = _objects((examples / CONTOUR / "01-crds.yaml").read_text())
    with _defined(kubernetes, definitions), _running(kubernetes, _contour(examples, name)):
        yield name


def _metrics_server(kubernetes: Kubernetes) -> Objects:
    """metrics-server as its project installs it, but small, quick, and for nodes that really run pods."""
    base = module_folder("sigs.k8s.io/metrics-server") / "manifests" / "base"
    objects = _objects(kubernetes.kubectl("kustomize", str(base)))
    [deployment] = (each for each in objects if each["kind"] == "Deployment")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    quick = ["--metric-resolution=10s", "--kubelet-request-timeout=5s", "--node-selector=kubernetes.io/os=linux"]
    container["args"] = [*(each for each in container["args"] if "resolution" not in each), *quick]
    container["readinessProbe"] |= {"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 60}
    container |= {"image": _image("metrics-server"), "resources": LITTLE}
    return objects


def _cert_manager(kubernetes: Kubernetes) -> Objects:
    """The controllers of cert-manager as its chart installs them. Our program answers no probe."""
    chart = module_folder("github.com/cert-manager/cert-manager") / "deploy" / "charts" / "cert-manager"
    values = {
        "image": {"repository": "localhost/cert-manager", "tag": "test"},
        "global": {"leaderElection": {"namespace": CERT_MANAGER}},
        "livenessProbe": {"enabled": False},
        "resources": LITTLE,
    }
    only = [f"--show-only=templates/{name}.yaml" for name in ("serviceaccount", "rbac", "deployment")]
    template = ("template", CERT_MANAGER, str(chart), "-n", CERT_MANAGER, "-f", "-", *only)
    return _objects(kubernetes.helm(*template, stdin=json.dumps(values)))


def _envoy_gateway(kubernetes: Kubernetes, chart: Path, name: str) -> Objects:
    """Envoy Gateway as its chart installs it. Only its releases have a file of values without gaps."""
    gaps = {"GatewayImage": _image(ENVOY_GATEWAY), "GatewayImagePullPolicy": "Never"}
    values = Template((chart / "values.tmpl.yaml").read_text()).substitute(gaps)
    changes = {
        "crds": {"enabled": False},
        "topologyInjector": {"enabled": False},
        "deployment": {"envoyGateway": {"resources": LITTLE}},
        "config": {"envoyGateway": {"provider": {"kubernetes": {"shutdownManager": {"image": _image(ENVOY_GATEWAY)}}}}},
    }
    with tempfile.TemporaryDirectory() as folder:
        for file, text in (("values", values), ("changes", json.dumps(changes))):
            (Path(folder) / f"{file}.yaml").write_text(text)
        copy = shutil.copytree(chart, Path(folder) / "chart")
        shutil.copy(Path(folder) / "values.yaml", copy)
        template = ("template", name, str(copy), "-n", name, "-f", f"{folder}/changes.yaml")
        return _objects(kubernetes.helm(*template))


def _gateway_class(name: str) -> Objects:
    """A GatewayClass with our image of Envoy."""
    container = {"image": _image("envoy"), "resources": LITTLE}
    soon_gone = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}
    deployment = {"container": container, "patch": {"type": "StrategicMerge", "value": soon_gone}}
    provider = {
        "type": "Kubernetes",
        "kubernetes": {"envoyDeployment": deployment, "envoyService": {"type": "ClusterIP"}},
    }
    kind = "EnvoyProxy"
    proxy = {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": name},
        "spec": {"provider": provider},
    }
    parameters = {"group": "gateway.envoyproxy.io", "kind": kind, "name": name, "namespace": name}
    spec = {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller", "parametersRef": parameters}
    made = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass"}
    return [proxy, made | {"metadata": {"name": name}, "spec": spec}]


def _contour(examples: Path, name: str) -> Objects:
    """Contour as its project installs it, with Envoy as a Deployment, one pod of each, and our images."""
    files = [*sorted((examples / CONTOUR).glob("0[!1]*.yaml")), examples / CONTOUR / "01-contour-config.yaml"]
    texts = [file.read_text() for file in (*files, *(examples / "deployment").glob("*.yaml"))]
    text = re.sub(r"(name|namespace): projectcontour\b", rf"\1: {name}", "---\n".join(texts))
    objects = [each for each in _objects(text) if each["kind"] != "DaemonSet"]
    for each in objects:
        if each["kind"] == "Deployment":
            each["spec"]["replicas"] = 1
        if each["kind"] in {"Deployment", "Job"}:
            pod = each["spec"]["template"]["spec"]
            pod["terminationGracePeriodSeconds"] = 1
            # It would let connections end first.
            pod["containers"] = [one for one in pod["containers"] if one["name"] != "shutdown-manager"]
            for container in (*pod.get("initContainers", ()), *pod["containers"]):
                name_of_image = container["image"].partition(":")[0].rpartition("/")[2]
                container |= {"image": _image(name_of_image), "resources": LITTLE}
                container.pop("lifecycle", None)
                for port in container.get("ports", ()):
                    port.pop("hostPort", None)
    return objects


@contextmanager
def _defined(kubernetes: Kubernetes, definitions: Objects) -> Generator[None]:
    names = [f"customresourcedefinition/{each['metadata']['name']}" for each in definitions]
    try:
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": definitions})
        kubernetes.kubectl("apply", "--server-side", "-f", "-", stdin=listed)  # too large for an annotation
        await_established(kubernetes.kubectl, names)
        yield
    finally:
        kubernetes.kubectl("delete", "--ignore-not-found", "--wait=false", *names)


@contextmanager
def _running(kubernetes: Kubernetes, objects: Objects) -> Generator[None]:
    """The objects are there, and their Deployments available."""
    with _there(kubernetes, objects):
        for each in objects:
            if each["kind"] == "Deployment":
                name, namespace = each["metadata"]["name"], each["metadata"]["namespace"]
                wait = ("wait", "deployment", name, "-n", namespace, "--for=condition=Available", "--timeout=180s")
                kubernetes.kubectl(*wait)
        yield


@contextmanager
def _there(kubernetes: Kubernetes, objects: Objects, *, wait: bool = False) -> Generator[None]:
    """The objects are there; with `wait`, they are gone at the end."""
    try:
        kubernetes.apply(*objects)
        yield
    finally:
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        kubernetes.kubectl("delete", "-f", "-", "--ignore-not-found", f"--wait={wait}".lower(), stdin=listed)


def _load(kubernetes: Kubernetes, name: str) -> None:
    if not of_recipe(kubernetes):
        pytest.skip(f"the cluster has no {name}, and is not of our recipe")
    images.load(images.build(name, images.of_recipe()[name]), kubernetes.kubeconfig.parent)


def _image(name: str) -> str:
    return f"localhost/{name}:test"


def _objects(text: str) -> Objects:
    return [each for each in yaml.safe_load_all(text) if each]
