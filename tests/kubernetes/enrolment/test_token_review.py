"""Tokens of real pods, reviewed by the real API server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.backends.processes import spec
from tests.conftest import Eventually
from tests.kubernetes.backend.opened import Site, new_deployment
from tests.kubernetes.running import Kubernetes

from headrace.errors import TokenInvalid, TooManyRequests
from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import SCHEDULER, ProcessKey

CLUSTER = "c00000000000000000e1"


@pytest.fixture(scope="module")
def site(kubernetes: Kubernetes, namespace: str) -> Site:
    """Pods that no node takes: their tokens are issued all the same."""
    return site_of(kubernetes, namespace)


def site_of(kubernetes: Kubernetes, namespace: str) -> Site:
    return Site(
        kubeconfig=kubernetes.kubeconfig, namespace=namespace, image="localhost/none:test", deployment=new_deployment()
    )


@pytest.fixture
async def backend(site: Site) -> AsyncIterator[KubernetesBackend]:
    backend = site.backend({"node_selector": {"no-such": "node"}})
    await backend.open()
    yield backend
    await backend.close()


class Tokens:
    """Issues tokens as a kubelet asks for them."""

    def __init__(self, kubernetes: Kubernetes, site: Site) -> None:
        self._kubernetes = kubernetes
        self._site = site

    def of(self, name: str, uid: str, *, audience: str = "") -> str:
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={name}", f"--bound-object-uid={uid}")
        return self._issue(*bound, audience=audience)

    def of_nobody(self) -> str:
        """Of the service account, bound to no pod."""
        return self._issue()

    def _issue(self, *bound: str, audience: str = "") -> str:
        return self._kubernetes.kubectl(
            "create", "token", "default", "-n", self._site.namespace, *bound,
            f"--audience={audience or f'headrace/{self._site.deployment}'}",
        ).strip()  # fmt: skip


@pytest.fixture
def tokens(kubernetes: Kubernetes, site: Site) -> Tokens:
    return Tokens(kubernetes, site)


async def launch(backend: KubernetesBackend, cluster: str = CLUSTER) -> Any:
    await backend.start([spec(cluster, SCHEDULER, settings={"start_command": []})])
    pod = backend.table.pod(ProcessKey(cluster, SCHEDULER))
    assert pod is not None
    return pod


async def test_a_pods_token_names_its_process(backend: KubernetesBackend, tokens: Tokens) -> None:
    pod = await launch(backend)
    found = await backend.attest(tokens.of(pod.name, pod.uid))
    assert (found.cluster, found.process, found.launch, found.launched) == (CLUSTER, SCHEDULER, pod.uid, pod.created)


async def test_what_is_not_bound_to_a_pod_of_this_deployment_is_refused(
    site: Site, backend: KubernetesBackend, tokens: Tokens, kubernetes: Kubernetes
) -> None:
    pod = await launch(backend)
    with pytest.raises(TokenInvalid, match="another audience"):
        await backend.attest(tokens.of(pod.name, pod.uid, audience="headrace/another"))
    with pytest.raises(TokenInvalid, match="none of a pod"):
        await backend.attest(tokens.of_nobody())
    header, claims, signature = tokens.of(pod.name, pod.uid).split(".")
    with pytest.raises(TokenInvalid, match="does not confirm"):
        await backend.attest(f"{header}.{claims}.{signature[:-8]}AAAAAAAA")
    stranger: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stranger", "namespace": site.namespace},
        "spec": {"nodeSelector": {"no-such": "node"}, "containers": [{"name": "a", "image": "localhost/none:test"}]},
    }
    kubernetes.kubectl("create", "-f", "-", stdin=json.dumps(stranger))
    uid = kubernetes.get("pod", "stranger", "-n", site.namespace)["metadata"]["uid"]
    with pytest.raises(BackendError, match="no pod 'stranger' of this deployment"):
        await backend.attest(tokens.of("stranger", uid))


async def test_two_deployments_in_one_namespace_do_not_take_each_others_tokens(
    site: Site, kubernetes: Kubernetes, backend: KubernetesBackend
) -> None:
    other = site_of(kubernetes, site.namespace)
    theirs = other.backend({"node_selector": {"no-such": "node"}})
    await theirs.open()
    try:
        pod = await launch(theirs, "c00000000000000000e2")
        token = Tokens(kubernetes, other).of(pod.name, pod.uid)
        assert (await theirs.attest(token)).launch == pod.uid
        with pytest.raises(TokenInvalid, match="another audience"):
            await backend.attest(token)
        ours = Tokens(kubernetes, site).of(pod.name, pod.uid)  # the pod's service account is the same
        with pytest.raises(BackendError, match="of this deployment is known"):
            await backend.attest(ours)
    finally:
        await theirs.close()


async def test_the_token_of_an_earlier_pod_of_the_same_name_is_refused(
    backend: KubernetesBackend, tokens: Tokens, kubernetes: Kubernetes, site: Site, eventually: Eventually
) -> None:
    cluster = "c00000000000000000e3"
    before = await launch(backend, cluster)
    token = tokens.of(before.name, before.uid)
    kubernetes.kubectl("delete", "pod", before.name, "-n", site.namespace, "--wait=true", "--grace-period=0")
    await eventually(lambda: not backend.table.exists(before))
    after = await launch(backend, cluster)
    assert after.name == before.name
    with pytest.raises(TokenInvalid, match="an earlier pod"):
        await backend.attest(token)

    async def confirmed() -> bool:
        """The API server still knows the earlier pod for a moment; a token that it has refused stays refused."""
        try:
            found = await backend.attest(tokens.of(after.name, after.uid))
        except (TokenInvalid, TooManyRequests):
            return False
        return found.launch == after.uid

    await eventually(confirmed, within=60)


async def test_the_token_of_a_deleted_pod_is_not_confirmed(
    backend: KubernetesBackend, tokens: Tokens, kubernetes: Kubernetes, site: Site, eventually: Eventually
) -> None:
    pod = await launch(backend, "c00000000000000000e4")
    token = tokens.of(pod.name, pod.uid)
    kubernetes.kubectl("delete", "pod", pod.name, "-n", site.namespace, "--wait=true", "--grace-period=0")
    await eventually(lambda: not backend.table.exists(pod))
    with pytest.raises(BackendError, match="of this deployment is known"):
        await backend.attest(token)
