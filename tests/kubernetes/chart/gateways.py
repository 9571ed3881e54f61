"""A Gateway of the cluster, as administrators have it for all that is published, and the routes that it takes."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.kubernetes.chart.installation import Installation
from tests.kubernetes.running import Kubernetes, until

_API = "gateway.networking.k8s.io/v1"
_NAME = "edge"
_EVERYBODY = {"namespaces": {"from": "All"}}
PASSTHROUGH: dict[str, Any] = {
    "name": "passthrough",
    "protocol": "TLS",
    "tls": {"mode": "Passthrough"},
    "allowedRoutes": _EVERYBODY,
}
"""A listener that leaves connections unopened; without its port."""


def https(secret: str) -> dict[str, Any]:
    """A listener that opens connections, with the certificate in a Secret."""
    tls = {"mode": "Terminate", "certificateRefs": [{"name": secret}]}
    return {"name": "https", "port": 443, "protocol": "HTTPS", "tls": tls, "allowedRoutes": _EVERYBODY}


@dataclass(frozen=True)
class Edge:
    """A Gateway in a namespace of its own."""

    kubernetes: Kubernetes
    namespace: str

    def address(self) -> str:
        """Wait until it runs; return where."""

        def found() -> str | None:
            status = self.kubernetes.get("gateway", _NAME, "-n", self.namespace).get("status", {})
            return str(status["addresses"][0]["value"]) if _is(status, "Accepted", "Programmed") else None

        return str(until(found, "the Gateway runs"))

    def await_routes(self, release: Installation, *kinds: str) -> None:
        """Wait until the Gateway has taken the routes of a release."""

        def taken() -> bool:
            routes = [route for kind in kinds for route in release.get(kind)["items"]]
            parents = [parent for route in routes for parent in route.get("status", {}).get("parents", ())]
            ours = [each for each in parents if each["parentRef"].get("namespace") == self.namespace]
            return len(ours) == len(kinds) and all(_is(each, "Accepted", "ResolvedRefs") for each in ours)

        until(taken, "the Gateway has the routes")


@contextmanager
def edge(kubernetes: Kubernetes, gateway_class: str, listeners: Sequence[dict[str, Any]]) -> Generator[Edge]:
    """Have a Gateway with these listeners."""
    namespace = f"test-gateways-{secrets.token_hex(3)}"
    spec = {"gatewayClassName": gateway_class, "listeners": listeners}
    try:
        kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        metadata = {"name": _NAME, "namespace": namespace}
        kubernetes.apply({"apiVersion": _API, "kind": "Gateway", "metadata": metadata, "spec": spec})
        yield Edge(kubernetes, namespace)
    finally:
        kubernetes.kubectl("delete", "gateway", _NAME, "-n", namespace, "--ignore-not-found")
        kubernetes.kubectl("delete", "namespace", namespace, "--wait=false")


def _is(status: dict[str, Any], *conditions: str) -> bool:
    """Whether these conditions are there, and true."""
    met = {each["type"] for each in status.get("conditions", ()) if each["status"] == "True"}
    return met.issuperset(conditions)
