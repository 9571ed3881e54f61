"""Processes that wait for a node longer than the token of their launch lives."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from tests.kubernetes.faults.conftest import gateway
from tests.kubernetes.faults.seen import MARKS
from tests.kubernetes.faults.system import System, system
from tests.kubernetes.running import Kubernetes, until

from headrace import Gateway

__all__ = ["gateway"]

pytestmark = MARKS
TOKEN_SECONDS = 60
LABEL = f"headrace.test/late-{secrets.token_hex(3)}"
_RBAC = "rbac.authorization.k8s.io"


@pytest.fixture(params=["secret", "token-review"])
def headrace(request: pytest.FixtureRequest, kubernetes: Kubernetes, redis_url: str) -> Iterator[System]:
    settings = {"AGENT_TOKEN_SECONDS": str(TOKEN_SECONDS), "BACKENDS__KUBERNETES__ENROLMENT": request.param}
    late = {"worker": {"node_selector": {LABEL: "true"}}}
    with (
        tempfile.TemporaryDirectory(prefix="hr-late-") as directory,
        system(kubernetes, Path(directory), redis_url, {"late": late}, **settings) as running,
    ):
        _allow_secrets(running)
        yield running


def test_a_worker_whose_node_comes_after_its_token_has_expired_joins(headrace: System, gateway: Gateway) -> None:
    with gateway.new_cluster(profile="late") as cluster:
        cluster.scale(1)
        [pod] = until(lambda: headrace.pods(cluster.name, "worker"), "the worker's pod is there")
        created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"]).timestamp()
        until(lambda: time.time() > created + TOKEN_SECONDS + 1, "its token has expired")
        node = headrace.pods(cluster.name, "scheduler")[0]["spec"]["nodeName"]
        headrace.kubernetes.kubectl("label", "node", node, f"{LABEL}=true")
        try:
            with cluster.get_client() as client:
                client.wait_for_workers(1, timeout=120)
        finally:
            headrace.kubernetes.kubectl("label", "node", node, f"{LABEL}-")
        assert headrace.names(cluster.name) == {pod["metadata"]["name"]}


def _allow_secrets(headrace: System) -> None:
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "patch", "delete"]}
    metadata = {"name": "secrets", "namespace": headrace.name}
    headrace.kubernetes.apply(
        {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": "secrets"},
            "subjects": [{"kind": "ServiceAccount", "name": "controller", "namespace": headrace.name}],
        },
    )
