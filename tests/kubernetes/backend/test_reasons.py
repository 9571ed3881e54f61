"""What keeps pods from running and what ends them, as the real Kubernetes does it, and what the backend says of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from tests.backends.processes import new_cluster, spec, text, until_written
from tests.backends.programs import Program
from tests.kubernetes.backend.opened import Site
from tests.kubernetes.backend.watched import exited, running, until
from tests.kubernetes.running import PRETENDED, Kubernetes, lose, pretended_node
from tests.kubernetes.running import until as wait_until

from headrace.v1.enums import ExitCause, WaitReason
from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_backend_kubernetes.objects import Pod
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import SCHEDULER, ProcessState, ProcessStatus

PLACE = "headrace.test/place"
"""A resource that the tests give to nodes of their own."""

PRETENDED_PODS = {"tolerations": [PRETENDED], "node_selector": {"type": "kwok"}}


@asynccontextmanager
async def opened(site: Site, pods: dict[str, Any], **settings: Any) -> AsyncGenerator[KubernetesBackend]:
    backend = site.backend(pods, **settings)
    await backend.open()
    try:
        yield backend
    finally:
        for cluster in {status.key.cluster for status in await backend.observe()}:
            await backend.stop(cluster)
            await backend.forget(cluster)
        await backend.close()


async def _kubectl(kubernetes: Kubernetes, *arguments: str, stdin: str = "") -> str:
    return await asyncio.to_thread(kubernetes.kubectl, *arguments, stdin=stdin)


async def _waits(reached: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(wait_until, reached, what)


async def _gone(kubernetes: Kubernetes, namespace: str, cluster: str) -> None:
    selector = f"headrace.dev/cluster={cluster}"
    await _kubectl(kubernetes, "wait", "pod", "-n", namespace, "-l", selector, "--for=delete", "--timeout=120s")


# --- before it runs ---


async def test_without_room_it_waits_and_says_which_nodes_have_none(site: Site) -> None:
    async with opened(site, {"node_selector": {"no": "such-node"}}) as backend:
        cluster = new_cluster()
        await backend.start([spec(cluster, SCHEDULER)])
        seen = await until(backend, cluster, lambda found: found.wait)
        assert (seen.state, seen.wait) == (ProcessState.PENDING, WaitReason.UNSCHEDULABLE)
        assert "nodes are available" in seen.message
        await backend.stop(cluster)
        [seen] = await backend.observe(cluster)
        assert (seen.state, seen.exit_cause) == (ProcessState.EXITED, ExitCause.STOPPED)


async def test_an_autoscaler_is_heard_that_adds_a_node_or_cannot(site: Site, kubernetes: Kubernetes) -> None:
    async with opened(site, {"node_selector": {"no": "such-node"}}) as backend:
        cluster = new_cluster()
        await backend.start([spec(cluster, SCHEDULER)])
        await until(backend, cluster, lambda found: found.wait is WaitReason.UNSCHEDULABLE)
        [pod] = backend.table.pods(cluster)

        async def heard(wait: WaitReason, reason: str, message: str) -> ProcessStatus:
            """Says it until it is heard: of what was said before it began to listen, the backend knows nothing."""
            async with asyncio.timeout(120):
                while True:
                    await _say(kubernetes, pod, reason, message)
                    with suppress(AssertionError):
                        return await until(backend, cluster, lambda found: found.wait is wait, within=5)

        scale_up = "pod triggered scale-up: [{pool-1 3->4 (max: 10)}]"
        seen = await heard(WaitReason.NODE_COMING, "TriggeredScaleUp", scale_up)
        assert "pool-1 3->4" in seen.message
        no_quota = "Node scale up failed: GCE quota exceeded."
        seen = await heard(WaitReason.NO_NODE_COMING, "FailedScaleUp", no_quota)
        assert seen.message == no_quota


async def _say(kubernetes: Kubernetes, pod: Pod, reason: str, message: str) -> None:
    """Writes an event about a pod, as an autoscaler does."""
    about = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "namespace": pod.namespace, "uid": pod.uid}
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "scale-up-", "namespace": pod.namespace},
        "involvedObject": about,
        "source": {"component": "cluster-autoscaler"},
        "reason": reason,
        "message": message,
        "type": "Normal",
    }
    await _kubectl(kubernetes, "create", "-f", "-", stdin=json.dumps(event))


async def test_an_image_that_is_not_there_fails_it_at_once_and_its_pod_is_removed(
    site: Site, kubernetes: Kubernetes
) -> None:
    async with opened(site, {"image": "localhost/no-such:1", "image_pull_policy": "Never"}) as backend:
        cluster = new_cluster()
        await backend.start([spec(cluster, SCHEDULER)])
        seen = await until(backend, cluster, exited)
        assert seen.exit_cause is ExitCause.IMAGE_UNAVAILABLE
        assert "localhost/no-such:1" in seen.message
        await _gone(kubernetes, site.namespace, cluster)
        [after] = await backend.observe(cluster)
        assert replace(after, host="") == replace(seen, host="")


async def test_an_image_without_headrace_says_what_to_install(site: Site, image: Callable[[str], str]) -> None:
    async with opened(site, {"image": image("plain-dask")}) as backend:
        cluster = new_cluster()
        await backend.start([spec(cluster, SCHEDULER, settings={"start_command": []})])
        seen = await until(backend, cluster, exited)
        assert seen.exit_cause is ExitCause.START_FAILED
        assert "has no headrace: build one with `pip install headrace[dask]`" in seen.message


async def test_a_sidecar_that_crashes_again_and_again_fails_it(site: Site) -> None:
    sidecar = {
        "name": "vault",
        "image": site.image,
        "command": ["sh", "-c", "echo no such role > /dev/termination-log; exit 3"],
        "restartPolicy": "Always",
        "startupProbe": {"exec": {"command": ["false"]}, "failureThreshold": 100},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    pod = {"shareProcessNamespace": True, "initContainers": [sidecar]}
    async with opened(site, {"extra_pod_config": pod}) as backend:
        cluster = new_cluster()
        await backend.start([spec(cluster, SCHEDULER)])
        seen = await until(backend, cluster, exited)
        assert seen.exit_cause is ExitCause.START_FAILED
        assert seen.message == "sidecar vault ends again and again, the last time with exit code 3: no such role"


async def test_a_process_that_takes_too_much_memory_is_told_so(site: Site) -> None:
    limits = {"resources": {"limits": {"memory": "48Mi"}}}
    async with opened(site, {"extra_container_config": limits}) as backend:
        cluster = new_cluster()
        await backend.start([spec(cluster, SCHEDULER, ["python3", "-c", "print(len(bytearray(500 << 20)))"])])
        seen = await until(backend, cluster, exited)
        assert seen.exit_cause is ExitCause.OUT_OF_MEMORY


# --- refused ---


async def test_a_full_quota_refuses_it_with_its_numbers(site: Site, kubernetes: Kubernetes) -> None:
    await _kubectl(kubernetes, "create", "quota", "small", "-n", site.namespace, "--hard=pods=0")
    try:
        await _waits(lambda: "quota" in kubernetes.refusal(site.namespace), "the quota is in force")
        async with opened(site, PRETENDED_PODS) as backend:
            cluster = new_cluster()
            with pytest.raises(BackendError, match="exceeded quota: small") as raised:
                await backend.start([spec(cluster, SCHEDULER), spec(cluster, "w-1")])
            assert raised.value.cause is ExitCause.QUOTA_EXCEEDED
            assert await backend.observe(cluster) == []
    finally:
        await _kubectl(kubernetes, "delete", "quota", "small", "-n", site.namespace)
        await _waits(lambda: not kubernetes.refusal(site.namespace), "the quota is out of force")


async def test_pods_pass_the_restricted_pod_security_standard_and_others_are_refused(
    site: Site, kubernetes: Kubernetes
) -> None:
    enforce = "pod-security.kubernetes.io/enforce"
    await _kubectl(kubernetes, "label", "namespace", site.namespace, f"{enforce}=restricted")
    try:
        await _waits(lambda: kubernetes.refusal(site.namespace, hostPID=True), "the label is in force")
        async with opened(site, PRETENDED_PODS) as backend:
            cluster = new_cluster()
            await backend.start([spec(cluster, SCHEDULER)])
            await until(backend, cluster, running)
        async with opened(site, {**PRETENDED_PODS, "extra_pod_config": {"hostPID": True}}) as backend:
            with pytest.raises(BackendError, match='violates PodSecurity "restricted') as raised:
                await backend.start([spec(new_cluster(), SCHEDULER)])
            assert raised.value.cause is ExitCause.REFUSED
    finally:
        await _kubectl(kubernetes, "label", "namespace", site.namespace, f"{enforce}-")


async def test_a_namespace_that_does_not_exist_refuses_it(site: Site) -> None:
    async with opened(replace(site, namespace="no-such-namespace"), {}) as backend:
        with pytest.raises(BackendError, match='namespaces "no-such-namespace" not found') as raised:
            await backend.start([spec(new_cluster(), SCHEDULER)])
        assert raised.value.cause is ExitCause.REFUSED


async def test_a_field_that_does_not_exist_is_named(site: Site) -> None:
    async with opened(site, {"extra_pod_config": {"nodeSelektor": {"a": "b"}}}) as backend:
        with pytest.raises(BackendError, match=r'unknown field "spec.nodeSelektor"') as raised:
            await backend.start([spec(new_cluster(), SCHEDULER)])
        assert raised.value.cause is ExitCause.REFUSED


async def test_a_pod_of_somebody_else_with_its_name_is_left_alone(site: Site) -> None:
    other = replace(site, deployment="another")
    async with opened(site, PRETENDED_PODS) as backend, opened(other, PRETENDED_PODS) as theirs:
        cluster = new_cluster()
        await theirs.start([spec(cluster, SCHEDULER)])
        await until(theirs, cluster, running)
        with pytest.raises(BackendError, match="belongs to somebody else"):
            await backend.start([spec(cluster, SCHEDULER)])
        await backend.stop(cluster)
        await backend.forget(cluster)
        assert await backend.observe() == []
        [seen] = await theirs.observe()
        assert seen.state is ProcessState.RUNNING


# --- ended by others ---


async def test_a_pod_that_is_deleted_by_hand_says_so(site: Site, kubernetes: Kubernetes) -> None:
    async with opened(site, PRETENDED_PODS) as backend:
        cluster = new_cluster()
        await backend.start([spec(cluster, SCHEDULER)])
        await until(backend, cluster, running)
        [pod] = backend.table.pods(cluster)
        await _kubectl(kubernetes, "delete", "pod", pod.name, "-n", pod.namespace, "--wait=false")
        seen = await until(backend, cluster, exited)
        assert seen.exit_cause is ExitCause.DELETED


async def test_an_evicted_pod_is_leaving_first_and_then_was_evicted(site: Site, kubernetes: Kubernetes) -> None:
    async with opened(site, {}) as backend:
        cluster = new_cluster()
        deaf = ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"]
        changes = backend.changes()
        await backend.start([spec(cluster, SCHEDULER, deaf)])
        await until(backend, cluster, running)
        [pod] = backend.table.pods(cluster)
        name = {"name": pod.name, "namespace": pod.namespace}
        eviction = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": name})
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/eviction"
        await _kubectl(kubernetes, "create", "--raw", path, "-f", "-", stdin=eviction)
        seen = await until(backend, cluster, exited)
        assert seen.exit_cause is ExitCause.EVICTED
        told = []
        while not told or not exited(told[-1]):
            told.append(await anext(changes))
        assert ExitCause.EVICTED in {each.leaving for each in told}


async def test_a_pod_that_makes_room_for_a_more_important_one_was_preempted(site: Site, kubernetes: Kubernetes) -> None:
    name = f"urgent-{new_cluster()[:8]}"
    room = {"requests": {PLACE: "1"}, "limits": {PLACE: "1"}}
    urgent = {
        "tolerations": [PRETENDED],
        "nodeSelector": {"type": name},
        "priorityClassName": name,
        "containers": [{"name": "c", "image": "localhost/none:1", "resources": room}],
    }
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}}
    kubernetes.apply({**priority, "value": 1000})
    try:
        with pretended_node(kubernetes, name):
            one = json.dumps({"status": {"capacity": {PLACE: "1"}, "allocatable": {PLACE: "1"}}})
            await _kubectl(kubernetes, "patch", "node", name, "--subresource=status", "-p", one)
            pods = {"tolerations": [PRETENDED], "node_selector": {"type": name}, "resources": {PLACE: "1"}}
            async with opened(site, pods) as backend:
                cluster = new_cluster()
                await backend.start([spec(cluster, SCHEDULER)])
                await until(backend, cluster, running)
                metadata = {"name": name, "namespace": site.namespace}
                kubernetes.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": urgent})
                seen = await until(backend, cluster, exited)
                assert seen.exit_cause is ExitCause.PREEMPTED
                assert "preempt" in seen.message
            await _kubectl(kubernetes, "delete", "pod", name, "-n", site.namespace, "--grace-period=0", "--force")
    finally:
        await _kubectl(kubernetes, "delete", "priorityclass", name)


async def test_pods_of_a_lost_node_are_given_up_and_removed(site: Site, kubernetes: Kubernetes) -> None:
    node = f"lost-{new_cluster()[:8]}"
    with pretended_node(kubernetes, node):
        pods = {"tolerations": [PRETENDED], "node_selector": {"type": node}, "lost_node_seconds": 1}
        async with opened(site, pods) as backend:
            cluster = new_cluster()
            processes = [SCHEDULER, *(f"w-{n}" for n in range(9))]
            await backend.start([spec(cluster, process) for process in processes])
            for process in processes:
                await until(backend, cluster, running, process)
            await asyncio.to_thread(lose, kubernetes, node)
            for process in processes:
                seen = await until(backend, cluster, exited, process)
                assert seen.exit_cause is ExitCause.NODE_LOST
            await _gone(kubernetes, site.namespace, cluster)


async def test_the_end_of_the_log_of_a_pod_that_was_deleted_can_be_read(site: Site, kubernetes: Kubernetes) -> None:
    async with opened(site, {}) as backend:
        cluster = new_cluster()
        await backend.start([spec(cluster, SCHEDULER, Program(writes="one\ntwo\n", deaf=True))])
        await until(backend, cluster, running)  # the log comes from the kubelet, which may know sooner
        await until_written(backend, cluster, "two")
        [pod] = backend.table.pods(cluster)
        await _kubectl(kubernetes, "delete", "pod", pod.name, "-n", pod.namespace)
        seen = await until(backend, cluster, exited)
        assert seen.exit_cause is ExitCause.DELETED
        assert await text(backend, cluster) == "one\ntwo\n"
        assert await text(backend, cluster, tail_lines=1) == "two\n"
