"""Enrolment without TokenReview: tokens of launches in a Secret of each cluster."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.backends.processes import spec
from tests.conftest import Eventually
from tests.kubernetes.backend.opened import Site, new_deployment
from tests.kubernetes.running import Kubernetes

from headrace.errors import TokenInvalid
from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_backend_kubernetes.enrolment_secrets import secret_name
from headrace_controller.backends.process import SCHEDULER, ProcessKey, ProcessSpec

CLUSTER = "c00000000000000000f1"


@pytest.fixture
def site(kubernetes: Kubernetes, namespace: str) -> Site:
    return Site(
        kubeconfig=kubernetes.kubeconfig, namespace=namespace, image="localhost/none:test", deployment=new_deployment()
    )


@pytest.fixture
async def backend(site: Site) -> AsyncIterator[KubernetesBackend]:
    backend = site.backend({"node_selector": {"no-such": "node"}}, enrolment="secret")
    await backend.open()
    yield backend
    await backend.close()


def process(name: str, token: str) -> ProcessSpec:
    return replace(spec(CLUSTER, name, agent_token=token), settings={})


def tokens(kubernetes: Kubernetes, site: Site) -> dict[str, str]:
    secret = kubernetes.get("secret", secret_name(CLUSTER), "-n", site.namespace)
    return {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}


async def test_each_pod_mounts_its_own_token_from_the_secret_of_its_cluster(
    site: Site, backend: KubernetesBackend, kubernetes: Kubernetes, eventually: Eventually
) -> None:
    await backend.start([process(SCHEDULER, "of-the-scheduler")])
    await backend.start([process("w-1", "of-w-1"), process("w-2", "of-w-2")])
    assert tokens(kubernetes, site) == {SCHEDULER: "of-the-scheduler", "w-1": "of-w-1", "w-2": "of-w-2"}
    scheduler, worker = (backend.table.pod(ProcessKey(CLUSTER, name)) for name in (SCHEDULER, "w-1"))
    assert scheduler is not None
    assert worker is not None
    made = kubernetes.get("pod", worker.name, "-n", site.namespace)
    [volume] = [volume for volume in made["spec"]["volumes"] if volume["name"] == "headrace-token"]
    assert volume["secret"]["items"] == [{"key": "w-1", "path": "token"}]
    assert "of-w-1" not in str(made)
    secret = kubernetes.get("secret", secret_name(CLUSTER), "-n", site.namespace)
    assert [owner["uid"] for owner in secret["metadata"]["ownerReferences"]] == [scheduler.uid]
    await backend.stop(CLUSTER, ["w-1"])
    await backend.start([process("w-3", "of-w-3")])
    assert tokens(kubernetes, site).keys() == {SCHEDULER, "w-2", "w-3"}  # no more than are needed
    await backend.stop(CLUSTER)
    await backend.forget(CLUSTER)
    listed = ("get", "secrets", "-n", site.namespace, "-o", "name")
    await eventually(lambda: secret_name(CLUSTER) not in kubernetes.kubectl(*listed))


async def test_tokens_of_service_accounts_are_refused_without_a_review(backend: KubernetesBackend) -> None:
    with pytest.raises(TokenInvalid, match="enrolment: secret"):
        await backend.attest("a.b.c")
