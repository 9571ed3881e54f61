"""Deployments beside one another, over several namespaces, and after a restart with nothing but the API server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from tests.backends.processes import new_cluster, spec
from tests.kubernetes.backend.opened import Site
from tests.kubernetes.backend.watched import exited, running, until
from tests.kubernetes.running import PRETENDED, Kubernetes
from tests.kubernetes.running import until as wait_until

from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_backend_kubernetes.profile_settings import ProfileSettings
from headrace_controller.backends.process import SCHEDULER, ProcessState

PODS = {"tolerations": [PRETENDED], "node_selector": {"type": "kwok"}}
FOREIGN = {"containers": [{"name": "c", "image": "localhost/none:1"}], "nodeSelector": {"no-such": "node"}}
HOSTILE = "ann'; DROP/../\n 天文学 " + "x" * 1000


@pytest.fixture
async def opened() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def _open(stack: AsyncExitStack, site: Site, **settings: int) -> KubernetesBackend:
    backend = site.backend(PODS, **settings)
    await backend.open()

    async def close() -> None:
        for cluster in {status.key.cluster for status in await backend.observe()}:
            await backend.stop(cluster)
            await backend.forget(cluster)
        await backend.close()

    stack.push_async_callback(close)
    return backend


async def test_two_deployments_in_one_namespace_do_not_see_each_other(opened: AsyncExitStack, site: Site) -> None:
    one, other = await _open(opened, site), await _open(opened, replace(site, deployment=site.deployment + "-b"))
    cluster = new_cluster()
    await one.start([spec(cluster, SCHEDULER, manifest=b"sealed")])
    await until(one, cluster, running)
    mark = new_cluster()
    await other.start([spec(mark, SCHEDULER)])
    await until(other, mark, running)
    assert {status.key.cluster for status in await other.observe()} == {mark}
    assert await other.manifests() == {}
    await other.stop(cluster)
    await other.forget(cluster)
    [status] = await one.observe(cluster)
    assert status.state is ProcessState.RUNNING


async def test_pods_that_somebody_labels_as_ours_are_not_believed(
    opened: AsyncExitStack, site: Site, kubernetes: Kubernetes
) -> None:
    backend = await _open(opened, site)
    cluster = new_cluster()
    await backend.start([spec(cluster, SCHEDULER)])
    await until(backend, cluster, running)
    [pod] = kubernetes.get("pods", "-n", site.namespace, "-l", f"headrace.dev/cluster={cluster}")["items"]
    labels, sealed = pod["metadata"]["labels"], pod["metadata"]["annotations"]
    standby = {
        "headrace.dev/deployment": site.deployment,
        "headrace.dev/standby": "kind",
        "headrace.dev/ready": "true",
    }
    for name, given, written in (
        ("scheduler", labels, {**sealed, "headrace.dev/generation": "999999"}),
        ("copy", labels, sealed),
        ("standby", standby, {}),
    ):
        metadata = {"name": name, "namespace": site.namespace, "labels": given, "annotations": written}
        kubernetes.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": FOREIGN})
    mark = new_cluster()  # the watch shows it after them
    await backend.start([spec(mark, SCHEDULER)])
    await until(backend, mark, running)
    [status] = await backend.observe(cluster)
    assert (status.state, status.generation) == (ProcessState.RUNNING, 3)
    assert not backend.table.standby
    assert backend.table.find(site.namespace, "copy") is None

    after = await _open(opened, site)  # which lists them
    [status] = await after.observe(cluster)
    assert (status.state, status.generation) == (ProcessState.RUNNING, 3)
    assert not after.table.standby


async def test_one_deployment_uses_the_namespaces_of_its_profiles(
    opened: AsyncExitStack, site: Site, kubernetes: Kubernetes
) -> None:
    second = f"{site.namespace}-b"
    kubernetes.kubectl("create", "namespace", second)
    opened.callback(kubernetes.kubectl, "delete", "namespace", second, "--wait=false")
    account = ("get", "serviceaccount", "default", "-n", second)
    await asyncio.to_thread(wait_until, lambda: kubernetes.kubectl(*account), f"{second} is usable")
    profiles = {"far": ProfileSettings.model_validate({"namespace": second})}
    backend = await _open(opened, site)
    backend.use_profiles(profiles)
    near, far = new_cluster(), new_cluster()
    await backend.start([spec(near, SCHEDULER), spec(far, SCHEDULER, labels={"profile": "far"})])
    await until(backend, near, running)
    await until(backend, far, running)
    selector = f"headrace.dev/cluster={far}"
    assert kubernetes.get("pods", "-n", second, "-l", selector)["items"]
    assert not kubernetes.get("pods", "-n", site.namespace, "-l", selector)["items"]

    after = site.backend(PODS)
    after.use_profiles(profiles)
    await after.open()
    opened.push_async_callback(after.close)
    changes = after.changes()
    async with asyncio.timeout(120):
        while {status.key.cluster for status in await after.observe()} != {near, far}:
            await anext(changes)
    await after.stop(far)
    [status] = await after.observe(far)
    assert status.state is ProcessState.EXITED


async def test_labels_show_people_who_has_what_whatever_they_are_called(
    opened: AsyncExitStack, site: Site, kubernetes: Kubernetes
) -> None:
    backend = await _open(opened, site)
    cluster = new_cluster()
    labels = {"owner": HOSTILE, "profile": "big", "group": "α"}
    await backend.start([spec(cluster, "α-0-abcdef", owner=HOSTILE, labels=labels)])
    [pod] = kubernetes.get("pods", "-n", site.namespace, "-l", f"headrace.dev/cluster={cluster}")["items"]
    found, real = pod["metadata"]["labels"], pod["metadata"]["annotations"]
    assert found["headrace.dev/profile"] == "big"
    assert found["app.kubernetes.io/component"] == "worker"
    assert real["headrace.dev/owner"] == HOSTILE
    assert real["headrace.dev/process"] == "α-0-abcdef"
    [status] = await backend.observe(cluster)
    assert status.key.process == "α-0-abcdef"
    await backend.stop(cluster)


async def test_tags_are_labels_whatever_they_are_called(
    opened: AsyncExitStack, site: Site, kubernetes: Kubernetes
) -> None:
    backend = await _open(opened, site)
    cluster = new_cluster()
    tags = {"tag/project": "ocean", "tag/kostenstelle/α": "4711 \0\n", "tag/headrace.dev/cluster": "another"}
    await backend.start([spec(cluster, SCHEDULER, labels={"owner": "ann", **tags})])
    selector = f"headrace.dev/cluster={cluster},tags.headrace.dev/project=ocean"
    [pod] = kubernetes.get("pods", "-n", site.namespace, "-l", selector)["items"]
    of_tags = {name: value for name, value in pod["metadata"]["annotations"].items() if name.startswith("tags.")}
    assert sorted(of_tags.values()) == ["4711 \0\n", "another", "ocean"]
    assert of_tags.keys() <= pod["metadata"]["labels"].keys()


async def test_no_token_is_in_a_pods_spec_or_annotations(
    opened: AsyncExitStack, site: Site, kubernetes: Kubernetes
) -> None:
    backend = await _open(opened, site)
    cluster = new_cluster()
    await backend.start([spec(cluster, SCHEDULER, agent_token="very-secret-token")])
    [pod] = kubernetes.get("pods", "-n", site.namespace, "-l", f"headrace.dev/cluster={cluster}")["items"]
    assert "very-secret-token" not in str(pod)
    assert pod["spec"]["automountServiceAccountToken"] is False


async def test_a_large_manifest_is_kept_in_a_secret_of_the_schedulers_pod(
    opened: AsyncExitStack, site: Site, kubernetes: Kubernetes
) -> None:
    large = secrets.token_bytes(300_000)
    before = await _open(opened, site)
    cluster = new_cluster()
    await before.start([spec(cluster, SCHEDULER, manifest=large)])
    await until(before, cluster, running)
    after = await _open(opened, site)
    assert await after.manifests() == {cluster: large}
    [secret] = kubernetes.get("secrets", "-n", site.namespace, "-l", f"headrace.dev/cluster={cluster}")["items"]
    assert secret["metadata"]["ownerReferences"][0]["kind"] == "Pod"
    await after.update_manifest(cluster, large[:-1])
    assert await after.manifest(cluster) == large[:-1]
    await after.update_manifest(cluster, b"small again")
    assert await after.manifest(cluster) == b"small again"


async def test_only_the_last_ended_pods_of_a_cluster_are_kept(opened: AsyncExitStack, site: Site) -> None:
    backend = await _open(opened, site, ended_pods_per_cluster=2)
    cluster = new_cluster()
    workers = [f"w-{n}" for n in range(5)]
    await backend.start([spec(cluster, worker) for worker in workers])
    for worker in workers:
        await until(backend, cluster, running, worker)
    for worker in workers:
        await backend.stop(cluster, [worker])
        await until(backend, cluster, exited, worker)
    async with asyncio.timeout(120):
        while len(await backend.observe(cluster)) > 2:
            event = backend.table.next_change(cluster)
            assert event
            await event.wait()
    assert {status.key.process for status in await backend.observe(cluster)} == {"w-3", "w-4"}
