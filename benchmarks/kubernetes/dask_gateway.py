"""dask-gateway with its own Kubernetes backend, from its wheels: what headrace is measured beside.

Its API server and its controller are two containers of a pod, as its chart has them in two; the client runs in that
pod, too. Its proxy is Traefik, which cannot be built from the Go module proxy. Clients therefore connect to the
scheduler's Service, which spares dask-gateway the time that Traefik takes to learn of a route and to relay.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from benchmarks.systems import PEER_VERSION
from tests.kubernetes import images
from tests.kubernetes.definitions import await_established
from tests.kubernetes.running import Kubernetes, image, until

POD = "gateway"
_IMAGE = "dask-gateway"
_REQUIREMENTS = (f"dask-gateway=={PEER_VERSION}", f"dask-gateway-server[kubernetes]=={PEER_VERSION}", "distributed")
_API_PORT, _CONTROLLER_PORT = 8000, 8001
_CORES, _MEMORY = 0.01, "512M"  # as the pods of headrace request them here
_CONFIG = """
for each in (c.KubeBackend, c.KubeController):
    each.gateway_instance = {namespace!r}
c.DaskGateway.backend_class = "dask_gateway_server.backends.kubernetes.KubeBackend"
c.DaskGateway.address = ":{api_port}"
c.KubeController.address = ":{controller_port}"
c.KubeController.api_url = "http://{pod}.{namespace}:{api_port}/api"
c.KubeClusterConfig.namespace = {namespace!r}
c.KubeClusterConfig.image = {image!r}
c.KubeClusterConfig.image_pull_policy = "IfNotPresent"
c.KubeClusterConfig.scheduler_cmd = ["dask", "scheduler"]
c.KubeClusterConfig.worker_cmd = ["dask", "worker"]
for role in ("scheduler", "worker"):
    c.KubeClusterConfig[f"{{role}}_cores"] = {cores}
    c.KubeClusterConfig[f"{{role}}_cores_limit"] = {cores_limit}
    c.KubeClusterConfig[f"{{role}}_memory"] = {memory!r}
"""


@contextmanager
def installed(kubernetes: Kubernetes) -> Generator[str]:
    """Installs it into a namespace of its own, without NetworkPolicies; yields the namespace."""
    _load_image(kubernetes)
    namespace = f"bench-{secrets.token_hex(3)}-peer"
    definitions = _definitions()
    kubernetes.kubectl("create", "namespace", namespace)
    try:
        kubernetes.apply(*definitions)
        await_established(kubernetes.kubectl, [f"crd/{each['metadata']['name']}" for each in definitions])
        kubernetes.apply(*_objects(namespace))
        until(lambda: _is_ready(kubernetes, namespace), "dask-gateway is ready")
        yield namespace
    finally:
        kubernetes.kubectl("delete", "clusterrolebinding", namespace, "--ignore-not-found")
        kubernetes.kubectl("delete", "namespace", namespace, "--wait=false")
        names = [f"crd/{definition['metadata']['name']}" for definition in definitions]
        kubernetes.kubectl("delete", *names, "--ignore-not-found", "--wait=false")


def end_clusters(kubernetes: Kubernetes, namespace: str) -> None:
    """Ends what a client has left, and waits until no pod of an earlier cluster is there."""
    kubernetes.kubectl("delete", "daskclusters.gateway.dask.org", "--all", "-n", namespace, "--wait=false")
    until(lambda: len(kubernetes.get("pods", "-n", namespace)["items"]) == 1, "dask-gateway's pods are gone")


def _load_image(kubernetes: Kubernetes) -> None:
    """Gives the test Kubernetes the image; another Kubernetes pulls what HEADRACE_TEST_IMAGE_DASK_GATEWAY names."""
    if image(_IMAGE).startswith("localhost/"):
        base = images.system(*images.DASK_SYSTEM)
        constraints = ("--constraint", str(images.ROOT / "constraints.txt"))
        made = images.Image((base, images.packages(_IMAGE, base, *_REQUIREMENTS, *constraints)))
        images.load(images.build(_IMAGE, made), kubernetes.kubeconfig.parent)


def _is_ready(kubernetes: Kubernetes, namespace: str) -> bool:
    return '"True"' in kubernetes.kubectl(
        "get", "pod", POD, "-n", namespace, "-o", 'jsonpath={.status.conditions[?(@.type=="Ready")]}'
    )


def _definitions() -> list[dict[str, Any]]:
    """Its own custom resource, and those of Traefik that it makes for each cluster."""
    traefik = [("traefik.io", kind) for kind in ("IngressRoute", "IngressRouteTCP")]
    return [_definition(group, kind) for group, kind in [("gateway.dask.org", "DaskCluster"), *traefik]]


def _definition(group: str, kind: str) -> dict[str, Any]:
    """A custom resource that may hold anything."""
    singular = kind.lower()
    version = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        "subresources": {"status": {}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{singular}s.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": f"{singular}s", "singular": singular},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def _objects(namespace: str) -> list[dict[str, Any]]:
    config = _CONFIG.format(
        namespace=namespace,
        pod=POD,
        image=image(_IMAGE),
        api_port=_API_PORT,
        controller_port=_CONTROLLER_PORT,
        cores=_CORES,
        cores_limit=os.cpu_count(),
        memory=_MEMORY,
    )
    administrator = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    metadata = {"name": POD, "namespace": namespace}
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": namespace},
            "roleRef": administrator,
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"config.py": config}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": {"app": POD}, "ports": [{"port": _API_PORT}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**metadata, "labels": {"app": POD}},
            "spec": {
                "terminationGracePeriodSeconds": 5,
                "volumes": [{"name": "config", "configMap": {"name": POD}}],
                "containers": [
                    _container("api", [], "/api/health", _API_PORT),
                    _container("controller", ["kube-controller"], "", _CONTROLLER_PORT),
                ],
            },
        },
    ]


def _container(name: str, command: list[str], health: str, port: int) -> dict[str, Any]:
    probe: dict[str, Any] = {"httpGet": {"path": health, "port": port}} if health else {"tcpSocket": {"port": port}}
    return {
        "name": name,
        "image": image(_IMAGE),
        "imagePullPolicy": "IfNotPresent",
        "command": ["dask-gateway-server", *command, "-f", "/etc/gateway/config.py"],
        "readinessProbe": {**probe, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/gateway"}],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "env": [
            {"name": "DASK_GATEWAY__ADDRESS", "value": f"http://localhost:{_API_PORT}"},
            {"name": "DASK_GATEWAY__AUTH__KWARGS__USERNAME", "value": "ann"},
        ],
    }
