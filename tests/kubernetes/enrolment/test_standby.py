"""Pods in standby on the real API server: kept, given to clusters by any controller, and replaced."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.backends.processes import new_cluster
from tests.backends.standby_contract import PATTERNS, PROFILE, SCHEDULERS, WORKERS, StandbyContract, process
from tests.conftest import Eventually
from tests.kubernetes.backend.opened import Site, new_deployment
from tests.kubernetes.running import Kubernetes

from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_backend_kubernetes.objects import Pod
from headrace_backend_kubernetes.profile_settings import ProfileSettings
from headrace_controller.backends.process import SCHEDULER, ProcessKey, Role

READY = "headrace.dev/ready"
KIND = "headrace.dev/standby"
SAFE_TO_EVICT, DO_NOT_DISRUPT = "cluster-autoscaler.kubernetes.io/safe-to-evict", "karpenter.sh/do-not-disrupt"


def profiles(schedulers: int, workers: int = 0, **changes: Any) -> dict[str, ProfileSettings]:
    settings = {"standby": {"schedulers": schedulers, "workers": workers}, **changes}
    return {PROFILE: ProfileSettings.model_validate(settings)}


@dataclass
class RealPlatform:
    """Two controllers whose pods no node takes, so that their processes are played by the tests."""

    kubernetes: Kubernetes
    keeper: KubernetesBackend
    other: KubernetesBackend

    def pods(self, role: Role = Role.SCHEDULER) -> list[Pod]:
        """Pods in standby, as both controllers know them."""
        both = self.keeper.table.standby, self.other.table.standby
        return [pod for pod in both[0].values() if pod.role is role and pod.uid in both[1]]

    def in_standby(self, role: Role) -> list[str]:
        known = {*self.keeper.table.standby, *self.other.table.standby}
        pods = self.pods(role)
        return [pod.uid for pod in pods] if len(known) == len(self.keeper.table.standby) else [*known]

    def is_ready(self, launch: str) -> bool:
        tables = self.keeper.table.standby, self.other.table.standby
        return all(launch in table and READY in table[launch].metadata.labels for table in tables)

    async def end(self, launch: str) -> None:
        await self.kubectl("delete", "pod", self.keeper.table.standby[launch].name, "--grace-period=0")

    async def change_profile(self) -> None:
        for backend in (self.keeper, self.other):
            backend.use_profiles(profiles(SCHEDULERS, WORKERS, labels={"team": "blue"}))

    async def kubectl(self, *arguments: str) -> str:
        namespace = f"--namespace={self.keeper.api.namespace}"
        return await asyncio.to_thread(self.kubernetes.kubectl, *arguments, namespace)


@pytest.fixture
async def platform(kubernetes: Kubernetes, namespace: str) -> AsyncIterator[RealPlatform]:
    site = Site(
        kubeconfig=kubernetes.kubeconfig, namespace=namespace, image="localhost/none:test", deployment=new_deployment()
    )
    made = [site.backend({"node_selector": {"no-such": "node"}}) for _ in range(2)]
    for backend in made:
        backend.use_profiles(profiles(SCHEDULERS, WORKERS))
        await backend.open()
    yield RealPlatform(kubernetes, *made)
    for backend in made:
        await backend.keep(None)
    for cluster in {status.key.cluster for backend in made for status in await backend.observe()}:
        await made[0].stop(cluster)
    selector = f"headrace.dev/deployment={site.deployment}"
    await made[0].api.delete_pods(namespace, selector)
    for backend in made:
        await backend.close()


class TestKubernetesStandby(StandbyContract):
    @pytest.fixture
    def platform(self, platform: RealPlatform) -> RealPlatform:
        return platform


async def kept(platform: RealPlatform, eventually: Eventually) -> list[Pod]:
    """Waits until so many pods are in standby as are wanted; returns the schedulers."""
    wanted = {Role.SCHEDULER: SCHEDULERS, Role.WORKER: WORKERS}
    await eventually(lambda: all(len(platform.in_standby(role)) == number for role, number in wanted.items()))
    return platform.pods()


async def test_a_pod_that_is_given_says_whose_it_is_and_keeps_the_clusters_manifest(
    platform: RealPlatform, eventually: Eventually
) -> None:
    await platform.keeper.keep(PATTERNS)
    [first, *_] = await kept(platform, eventually)
    before = platform.kubernetes.get("pod", first.name, "-n", first.namespace)["metadata"]["annotations"]
    assert (before[SAFE_TO_EVICT], before.get(DO_NOT_DISRUPT)) == ("true", None)
    waiting = asyncio.create_task(platform.keeper.stand_by(first.uid))
    await eventually(lambda: platform.is_ready(first.uid))
    cluster = new_cluster()
    await platform.other.start([process(cluster, manifest=b"sealed", environment={"MINE": "yes"})])
    await waiting
    pod = platform.kubernetes.get("pod", first.name, "-n", first.namespace)
    assert pod["metadata"]["labels"]["headrace.dev/cluster"] == cluster
    assert pod["metadata"]["annotations"]["headrace.dev/owner"] == "ann@example.org"
    assert pod["metadata"]["labels"]["tags.headrace.dev/a"] == "b"
    after = pod["metadata"]["annotations"]
    assert (after[SAFE_TO_EVICT], after[DO_NOT_DISRUPT]) == ("false", "true")
    assert KIND not in pod["metadata"]["labels"]
    assert "MINE" not in str(pod["spec"])
    assert await platform.other.manifests() == {cluster: b"sealed"}


async def test_a_worker_from_standby_tells_autoscalers_what_others_do(
    platform: RealPlatform, eventually: Eventually
) -> None:
    await platform.keeper.keep(PATTERNS)
    await kept(platform, eventually)
    [first, *_] = platform.pods(Role.WORKER)
    waiting = asyncio.create_task(platform.keeper.stand_by(first.uid))
    await eventually(lambda: platform.is_ready(first.uid))
    await platform.other.start([process(new_cluster(), "w-1")])
    await waiting
    after = platform.kubernetes.get("pod", first.name, "-n", first.namespace)["metadata"]["annotations"]
    assert after.keys().isdisjoint({SAFE_TO_EVICT, DO_NOT_DISRUPT})


async def test_a_changed_profile_is_what_the_new_pods_are(platform: RealPlatform, eventually: Eventually) -> None:
    await platform.keeper.keep(PATTERNS)
    before = {pod.uid for pod in await kept(platform, eventually)}
    await platform.change_profile()
    await platform.keeper.keep(PATTERNS)
    await eventually(lambda: before.isdisjoint(platform.in_standby(Role.SCHEDULER)))
    after = await kept(platform, eventually)
    blue = platform.kubernetes.get("pods", "-l", "team=blue", "-n", platform.keeper.api.namespace)["items"]
    assert {pod.name for pod in after} <= {pod["metadata"]["name"] for pod in blue}


@pytest.mark.parametrize(
    "label",
    [f"{KIND}=another-kind", f"{KIND}-", "headrace.dev/deployment-", "app.kubernetes.io/component=worker"],
    ids=["as another kind", "as no standby", "as nobody's", "as a worker"],
)
async def test_a_pod_that_somebody_labels_is_given_to_nobody_and_replaced(
    platform: RealPlatform, eventually: Eventually, label: str
) -> None:
    await platform.keeper.keep(PATTERNS)
    [first, *_] = await kept(platform, eventually)
    waiting = asyncio.create_task(platform.keeper.stand_by(first.uid))
    await eventually(lambda: platform.is_ready(first.uid))
    await platform.kubectl("label", "--overwrite", "pod", first.name, label)
    await eventually(lambda: first.uid not in platform.in_standby(Role.SCHEDULER))
    await kept(platform, eventually)
    cluster = new_cluster()
    await platform.other.start([process(cluster)])
    pod = platform.other.table.pod(ProcessKey(cluster, SCHEDULER))
    assert pod
    assert pod.uid != first.uid
    assert not waiting.done()
    waiting.cancel()


async def test_pods_that_end_at_once_are_removed_and_the_log_says_why(
    kubernetes: Kubernetes,
    namespace: str,
    image: Callable[[str], str],
    eventually: Eventually,
    capsys: pytest.CaptureFixture[str],
) -> None:
    site = Site(
        kubeconfig=kubernetes.kubeconfig, namespace=namespace, image=image("plain-dask"), deployment=new_deployment()
    )
    backend = site.backend()
    backend.use_profiles(profiles(1))
    await backend.open()
    said: list[str] = []

    def told() -> bool:
        said.append(capsys.readouterr().out)
        return "a pod in standby has failed; will try again" in "".join(said)

    try:
        await backend.keep(PATTERNS[:1])
        await eventually(told, within=120)
        [reason] = set(re.findall(r"No module named '\w+'", "".join(said)))
        assert reason == "No module named 'headrace'"
        [failed, *_] = re.findall(r"why='?\"?pod (dask-standby-\w+) has ended", "".join(said))
        await eventually(lambda: backend.table.find(namespace, failed) is None)
        listed = await asyncio.to_thread(kubernetes.kubectl, "get", "pods", "-n", namespace, "-o", "name")
        assert failed not in listed
    finally:
        await backend.close()
