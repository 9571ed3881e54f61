"""Pods in standby on the real API server: kept, given to clusters by any controller, and replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.backends.processes import spec
from tests.conftest import Eventually
from tests.kubernetes.backend.opened import Site, new_deployment
from tests.kubernetes.running import Kubernetes

from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_backend_kubernetes.objects import Pod
from headrace_backend_kubernetes.profile_settings import ProfileSettings
from headrace_controller.backends.base import Assignment
from headrace_controller.backends.process import SCHEDULER, ProcessKey, ProcessSpec, Role


def pattern(role: Role) -> ProcessSpec:
    made = spec("", SCHEDULER, owner="", agent_token="", generation=0, labels={"profile": "small"})
    return replace(made, role=role, settings={})


def process(cluster: str, name: str = SCHEDULER, /, **facts: Any) -> ProcessSpec:
    made: dict[str, Any] = {
        "owner": "ann@example.org",
        "labels": {"profile": "small", "owner": "ann@example.org", "tag/a": "b"},
    }
    return replace(spec(cluster, name, **made), **{"settings": {}, **facts})


@pytest.fixture
def site(kubernetes: Kubernetes, namespace: str) -> Site:
    """A deployment whose pods no node takes, so that their processes are played by the tests."""
    return Site(
        kubeconfig=kubernetes.kubeconfig, namespace=namespace, image="localhost/none:test", deployment=new_deployment()
    )


def profiles(schedulers: int, workers: int = 0, **changes: Any) -> dict[str, ProfileSettings]:
    settings = {"standby": {"schedulers": schedulers, "workers": workers}, **changes}
    return {"small": ProfileSettings.model_validate(settings)}


@pytest.fixture
async def controllers(site: Site) -> AsyncIterator[tuple[KubernetesBackend, KubernetesBackend]]:
    """Two of the same deployment; the first one keeps the pods in standby."""
    made = [site.backend({"node_selector": {"no-such": "node"}}) for _ in range(2)]
    for backend in made:
        backend.use_profiles(profiles(2, 1))
        await backend.open()
    yield made[0], made[1]
    await made[0].keep([])
    for backend in made:
        for cluster in {status.key.cluster for status in await backend.observe()}:
            await backend.stop(cluster)
        await backend.close()


def standing_by(backend: KubernetesBackend, role: Role) -> list[Pod]:
    return [pod for pod in backend.table.standby.values() if pod.role is role]


async def kept(backend: KubernetesBackend, eventually: Eventually, schedulers: int = 2, workers: int = 1) -> list[Pod]:
    """Waits until so many pods are in standby; returns the schedulers."""
    wanted = {Role.SCHEDULER: schedulers, Role.WORKER: workers}
    await eventually(lambda: all(len(standing_by(backend, role)) == number for role, number in wanted.items()))
    return standing_by(backend, Role.SCHEDULER)


async def wait_ready(backend: KubernetesBackend, pod: Pod, eventually: Eventually) -> asyncio.Task[Assignment]:
    """Plays the process of a pod, which has opened its stream."""
    task = asyncio.create_task(backend.stand_by(pod.uid))
    await eventually(lambda: "headrace.dev/ready" in backend.table.standby[pod.uid].metadata.labels)
    return task


async def test_a_pod_from_standby_becomes_a_process_and_another_takes_its_place(
    controllers: tuple[KubernetesBackend, KubernetesBackend], kubernetes: Kubernetes, eventually: Eventually
) -> None:
    keeper, other = controllers
    await keeper.keep([pattern(Role.SCHEDULER), pattern(Role.WORKER)])
    schedulers = await kept(keeper, eventually)
    assert await keeper.observe() == []
    waiting = await wait_ready(keeper, schedulers[0], eventually)
    await eventually(lambda: "headrace.dev/ready" in other.table.standby[schedulers[0].uid].metadata.labels)
    cluster = "c0000000000000000s01"
    await other.start([process(cluster, manifest=b"sealed", environment={"MINE": "yes"})])
    assert await waiting == Assignment(key=ProcessKey(cluster, SCHEDULER), role=Role.SCHEDULER, generation=3)
    [status] = await other.observe(cluster)
    assert (status.key, status.generation) == (ProcessKey(cluster, SCHEDULER), 3)
    pod = kubernetes.get("pod", schedulers[0].name, "-n", schedulers[0].namespace)
    assert pod["metadata"]["labels"]["headrace.dev/cluster"] == cluster
    assert pod["metadata"]["annotations"]["headrace.dev/owner"] == "ann@example.org"
    assert "headrace.dev/standby" not in pod["metadata"]["labels"]
    assert "MINE" not in str(pod["spec"])
    assert await other.manifests() == {cluster: b"sealed"}
    await other.start([process(cluster)])  # repeated
    assert len(await other.observe(cluster)) == 1
    after = await kept(keeper, eventually)
    assert schedulers[0].uid not in {one.uid for one in after}


async def test_two_controllers_do_not_give_one_pod_to_two_clusters(
    controllers: tuple[KubernetesBackend, KubernetesBackend], eventually: Eventually
) -> None:
    keeper, other = controllers
    await keeper.keep([pattern(Role.SCHEDULER)])
    pods = await kept(keeper, eventually, workers=0)
    waiting = await wait_ready(keeper, pods[0], eventually)
    await eventually(lambda: "headrace.dev/ready" in other.table.standby[pods[0].uid].metadata.labels)
    clusters = ["c0000000000000000s11", "c0000000000000000s12"]
    await asyncio.gather(keeper.start([process(clusters[0])]), other.start([process(clusters[1])]))
    winner = (await waiting).key.cluster
    assert winner in clusters
    for cluster in clusters:
        await eventually(lambda cluster=cluster: keeper.table.pod(ProcessKey(cluster, SCHEDULER)))
        pod = keeper.table.pod(ProcessKey(cluster, SCHEDULER))
        assert pod is not None
        assert (pod.uid == pods[0].uid) == (cluster == winner)  # the other one was started cold


async def test_only_what_fits_is_given(
    controllers: tuple[KubernetesBackend, KubernetesBackend], eventually: Eventually
) -> None:
    keeper, _ = controllers
    await keeper.keep([pattern(Role.SCHEDULER)])
    pods = await kept(keeper, eventually, workers=0)
    waiting = [await wait_ready(keeper, pod, eventually) for pod in pods]
    different: list[dict[str, Any]] = [
        {"environment": {"OMP_NUM_THREADS": "4"}},
        {"settings": {"image": "localhost/other:test"}},
    ]
    for number, facts in enumerate(different):
        cluster = f"c0000000000000000s2{number}"
        await keeper.start([process(cluster, **facts)])
        pod = keeper.table.pod(ProcessKey(cluster, SCHEDULER))
        assert pod is not None
        assert not pod.name.startswith("dask-standby-")
    await keeper.start([process("c0000000000000000s29", "w-1")])  # a worker is no scheduler
    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()


async def test_a_new_policy_replaces_pods_in_standby(
    controllers: tuple[KubernetesBackend, KubernetesBackend], eventually: Eventually
) -> None:
    keeper, _ = controllers
    await keeper.keep([pattern(Role.SCHEDULER), pattern(Role.WORKER)])
    before = {pod.uid for pod in await kept(keeper, eventually)}
    keeper.use_profiles(profiles(1, labels={"team": "blue"}))
    await keeper.keep([pattern(Role.SCHEDULER), pattern(Role.WORKER)])
    await eventually(lambda: len(keeper.table.standby) == 1 and before.isdisjoint(keeper.table.standby))
    [pod] = keeper.table.standby.values()
    assert pod.metadata.labels["team"] == "blue"
    await keeper.keep([])
    await eventually(lambda: not keeper.table.standby)


async def test_a_stream_with_another_controller_hears_of_a_given_pod_and_a_late_one_at_once(
    controllers: tuple[KubernetesBackend, KubernetesBackend], eventually: Eventually
) -> None:
    keeper, other = controllers
    await keeper.keep([pattern(Role.SCHEDULER)])
    [first, *_] = await kept(keeper, eventually, workers=0)
    broken = await wait_ready(keeper, first, eventually)
    broken.cancel()  # its controller dies
    cluster = "c0000000000000000s41"
    await keeper.start([process(cluster)])
    assert (await other.stand_by(first.uid)).key.cluster == cluster
    assert (await other.stand_by(first.uid)).key.cluster == cluster


async def test_a_pod_in_standby_that_is_deleted_is_replaced(
    controllers: tuple[KubernetesBackend, KubernetesBackend], kubernetes: Kubernetes, eventually: Eventually
) -> None:
    keeper, _ = controllers
    await keeper.keep([pattern(Role.SCHEDULER)])
    [first, second] = await kept(keeper, eventually, workers=0)
    kubernetes.kubectl("delete", "pod", first.name, "-n", first.namespace, "--wait=false")
    await eventually(lambda: first.uid not in keeper.table.standby)
    assert second.uid in {pod.uid for pod in await kept(keeper, eventually, workers=0)}
