"""Examples that say where and how pods run, installed: each computes. One release takes them on in turn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml
from tests.kubernetes.chart.examples import COMPUTE, EXAMPLES, PLAIN, Examples, one_release
from tests.kubernetes.chart.installation import RELEASE, Installation, client_pod
from tests.kubernetes.chart.tls_store import STORE, store
from tests.kubernetes.running import CommandFailed, Kubernetes, image, until

# Waits until the store has lost everything, and uses its cluster again by its name.
ADOPTED = """
import os, time, uuid
import headrace
from headrace.errors import GatewayServerError

gateway = headrace.Gateway()
cluster = gateway.new_cluster()
cluster.scale(1)
client = cluster.get_client()
held = client.submit(uuid.uuid4, pure=False)
value = held.result()
print("ready", flush=True)
while not os.path.exists("/tmp/lost"):
    time.sleep(0.1)
while True:
    try:
        [found] = [each for each in gateway.list_clusters() if each.name == cluster.name]
        break
    except (GatewayServerError, ValueError) as error:
        print("not yet:", error, flush=True)
        time.sleep(0.5)
print("owner", found.owner)
print("kept", held.result() == value)
print("result", client.submit(sum, range(10)).result())
client.close()
cluster.shutdown()
"""
SMALL = {"minimum": 0.01, "default": 0.01}


@pytest.fixture(scope="module")
def examples(kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examples]:
    with one_release(kubernetes, tmp_path_factory.mktemp("values"), "pods") as release:
        yield release


@pytest.fixture
def node(kubernetes: Kubernetes) -> str:
    """A node that takes any pod."""
    nodes = kubernetes.get("nodes")["items"]
    return next(each["metadata"]["name"] for each in nodes if not each["spec"].get("taints"))


def test_trial(examples: Examples) -> None:
    release = examples.take("trial")
    assert "The sum of 0 to 999 is 499500" in release.test()
    assert release.get("persistentvolumeclaims")["items"] == []


def test_helm_test_waits_for_services_that_still_start(examples: Examples) -> None:
    release = examples.take("trial")
    proxy = f"deployment/{RELEASE}-proxy"
    release.kubectl("scale", proxy, "--replicas=0")
    release.kubectl("wait", "pod", "-l=app.kubernetes.io/component=proxy", "--for=delete", "--timeout=60s")
    with ThreadPoolExecutor() as thread:
        tested = thread.submit(release.test)
        try:
            until(
                lambda: "headrace does not answer yet" in release.log(f"{RELEASE}-test"), "the test waits, and says so"
            )
        finally:
            release.kubectl("scale", proxy, "--replicas=1")
        assert "The sum of 0 to 999 is 499500" in tested.result()


def test_helm_test_says_for_what_its_worker_waits(examples: Examples) -> None:
    nowhere = {"backend": "kubernetes", "settings": {"worker": {"node_selector": {"pool": "no-such"}}}}
    release = examples.take("trial", {"policy": {"profiles": {"default": nowhere}}, "tests": {"timeoutSeconds": 30}})
    with pytest.raises(CommandFailed, match=r"only 0 of 1 workers arrived .* Waiting for room on a node"):
        release.test()


def test_clusters_are_adopted_when_the_store_is_empty(examples: Examples) -> None:
    release = examples.take("trial")
    release.begin("adopted", ADOPTED)
    until(lambda: "ready" in release.log("adopted"), "the cluster computes")
    # The example keeps Valkey's file in its pod.
    release.kubectl("delete", "pod", f"{RELEASE}-valkey-0")
    release.kubectl("exec", "adopted", "--", "touch", "/tmp/lost")
    printed = release.finish("adopted")
    assert _line(printed, "owner") == f"kubernetes:{release.namespace}:default"
    assert _line(printed, "kept") == "True"
    assert _line(printed, "result") == "45"
    until(lambda: set(release.dask_pods().values()) <= {"Succeeded", "Failed"}, "the cluster is closed")


def test_gpu(examples: Examples, kubernetes: Kubernetes, node: str) -> None:
    # A node as its device plugin would report it.
    _patch_capacity(kubernetes, node, {"nvidia.com/gpu": "1"})
    kubernetes.kubectl("label", "node", node, "accelerator=nvidia-l4")
    try:
        gpu = {"options": {"worker_cores": SMALL}, "settings": {"image": image("headrace-dask")}}
        release = examples.take("gpu", {"policy": {"profiles": {"gpu": gpu}}})
        script = f"""{COMPUTE}
def shared_memory():
    import shutil
    return shutil.disk_usage("/dev/shm").total

with headrace.Gateway() as gateway:
    run(gateway, "gpu", shared_memory)
"""
        printed = release.run("gpu", script)
        [worker] = _pods_of(release, printed, "worker")
        # The file system is as large as the example says, or as the pod's own limit of memory.
        assert _line(printed, "result") == str(512 * 2**20)
        assert worker["spec"]["nodeName"] == node
        assert worker["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        [scheduler] = _pods_of(release, printed, "scheduler")
        assert "nvidia.com/gpu" not in scheduler["spec"]["containers"][0]["resources"].get("limits", {})
    finally:
        kubernetes.kubectl("label", "node", node, "accelerator-")
        _patch_capacity(kubernetes, node, {"nvidia.com/gpu": None})


def test_spot(examples: Examples, kubernetes: Kubernetes, node: str) -> None:
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "dask-scheduler"}}
    kubernetes.apply({**priority, "value": 1000})
    kubernetes.kubectl("label", "node", node, "pool=ordinary")
    try:
        release = examples.take("spot")
        release.begin("spot", PLAIN)
        until(lambda: "cluster " in release.log("spot"), "the scheduler runs on an ordinary node")
        until(lambda: _unschedulable(release), "the worker waits for a spot node")
        # A spot node comes.
        kubernetes.kubectl("label", "node", node, "pool=spot", "--overwrite")
        printed = release.finish("spot")
        assert _line(printed, "result") == "45"
        [scheduler], [worker] = (_pods_of(release, printed, role) for role in ("scheduler", "worker"))
        assert scheduler["spec"]["priorityClassName"] == "dask-scheduler"
        assert worker["spec"].get("priorityClassName") != "dask-scheduler"
        assert worker["spec"]["terminationGracePeriodSeconds"] == 90
    finally:
        kubernetes.kubectl("label", "node", node, "pool-")
        kubernetes.kubectl("delete", "priorityclass", "dask-scheduler")


def test_namespaces(examples: Examples, kubernetes: Kubernetes) -> None:
    teams = {team: f"{examples.namespace}-{team}" for team in ("climate", "genomics")}
    volume = f"{examples.namespace}-data"
    for namespace in teams.values():
        kubernetes.kubectl("create", "namespace", namespace)
    kubernetes.apply(*_shared_volume(volume, teams["climate"]))
    try:
        group = [f"kubernetes:{examples.namespace}"]
        profiles = {team: {"groups": group} for team in teams}
        names = {f"dask-{team}": namespace for team, namespace in teams.items()}
        release = examples.take("namespaces", {"policy": {"profiles": profiles}}, names=names)
        script = f"""{COMPUTE}
def writable():
    import os
    return os.path.ismount("/data") and os.access("/data", os.W_OK)

with headrace.Gateway() as gateway:
    run(gateway, "climate", writable)
    run(gateway, "genomics")
"""
        printed = release.run("teams", script)
        assert [line.split()[1] for line in printed.splitlines() if line.startswith("result")] == ["False", "45"]
        for namespace in teams.values():
            pods = kubernetes.get("pods", "-n", namespace, "-l", f"headrace.dev/deployment={release.deployment}")
            assert len(pods["items"]) == 2
    finally:
        for namespace in teams.values():
            kubernetes.kubectl("delete", "namespace", namespace, "--wait=false")
        kubernetes.kubectl("delete", "persistentvolume", volume, "--wait=false")


def test_private_registry(examples: Examples) -> None:
    login = ("--docker-server=registry.example.org", "--docker-username=u", "--docker-password=p")
    examples.installation.kubectl("create", "secret", "docker-registry", "registry-login", *login)
    choices = {"stable": image("headrace-dask"), "next": image("old-dask")}
    options = {"image": {"choices": choices}}
    release = examples.take("private-registry", {"policy": {"profiles": {"default": {"options": options}}}})
    script = f"""{COMPUTE}
with headrace.Gateway() as gateway:
    run(gateway, image="next")
"""
    printed = release.run("registry", script, of="old-dask")
    assert _line(printed, "result") == "45"
    parts = "app.kubernetes.io/component in (auth,controller,proxy,valkey)"
    pods = release.get("pods", "-l", f"app.kubernetes.io/name=headrace,{parts}")["items"]
    services = [each for each in pods if "deletionTimestamp" not in each["metadata"]]
    dask = [*_pods_of(release, printed, "scheduler"), *_pods_of(release, printed, "worker")]
    assert len(services) >= 4
    assert len(dask) == 2
    for pod in services + dask:
        assert pod["spec"]["imagePullSecrets"] == [{"name": "registry-login"}]
    assert {pod["spec"]["containers"][0]["image"] for pod in dask} == {image("old-dask")}


def test_jupyterhub(examples: Examples, kubernetes: Kubernetes) -> None:
    hub = f"{examples.namespace}-hub"
    kubernetes.kubectl("create", "namespace", hub)
    try:
        small = {"worker_cores": SMALL, "worker_memory": {"minimum": "256 MiB", "default": "512 MiB"}}
        values = {"policy": {"profiles": {"standard": {"options": small}}}}
        release = examples.take("jupyterhub", values, names={"jupyter": hub})
        pod = client_pod(hub, "jupyter-ann", PLAIN, image("headrace-dask"))
        pod["metadata"]["annotations"] = {"hub.jupyter.org/username": "ann"}
        copied = {"name": "headrace-client", "namespace": hub}
        until(lambda: kubernetes.get("serviceaccount", "default", "-n", hub), "the namespace is usable")
        kubernetes.apply({**release.get("configmap", "headrace-client"), "metadata": copied}, _as_the_example_says(pod))
        inside = Installation(kubernetes, hub, release.values)
        printed = inside.finish("jupyter-ann")
        assert _line(printed, "user") == "ann"
        assert _line(printed, "result") == "45"
        # `helm test` is no notebook, and is admitted nevertheless.
        assert "The sum of 0 to 999 is 499500" in release.test()
    finally:
        kubernetes.kubectl("delete", "namespace", hub, "--wait=false")


def test_external_redis(examples: Examples) -> None:
    with store(examples.installation, username="headrace", password="a/b@c:d") as authority:
        release = examples.installation
        release.kubectl("create", "secret", "generic", "store-password", "--from-literal=password=a/b@c:d")
        release.kubectl("create", "secret", "generic", "store-ca", f"--from-literal=ca.crt={authority}")
        examples.take("external-redis", {"redis": {"url": f"rediss://{STORE}.{release.namespace}.svc:6379/0"}})
        assert release.get("statefulsets")["items"] == []
        assert _line(release.run("external-redis", PLAIN), "result") == "45"
        for service in ("auth", "controller"):
            [container] = release.get("deployment", f"{RELEASE}-{service}")["spec"]["template"]["spec"]["containers"]
            assert "a/b@c:d" not in json.dumps(release.get("configmap", f"{RELEASE}-{service}"))
            assert not [each["name"] for each in container["env"] if "REDIS" in each["name"]]


def test_namespace_only(examples: Examples) -> None:
    release = examples.take("namespace-only")
    assert "The sum of 0 to 999 is 499500" in release.test()
    roles = release.kubernetes.get("clusterroles", "-l", f"app.kubernetes.io/instance={RELEASE}")["items"]
    assert not [each["metadata"]["name"] for each in roles if release.namespace in each["metadata"]["name"]]


def _line(printed: str, word: str) -> str:
    """The rest of the last line that begins with the word."""
    return next(line for line in reversed(printed.splitlines()) if line.startswith(f"{word} ")).partition(" ")[2]


def _pods_of(release: Installation, printed: str, component: str) -> list[dict[str, Any]]:
    """Pods of the cluster whose name a client has printed; ended ones stay."""
    selector = f"headrace.dev/cluster={_line(printed, 'cluster')},app.kubernetes.io/component={component}"
    return release.get("pods", "-l", selector)["items"]


def _unschedulable(release: Installation) -> bool:
    pods = release.get("pods", "-l", f"headrace.dev/deployment={release.deployment}")["items"]
    reasons = [each.get("reason") for pod in pods for each in pod["status"].get("conditions", ())]
    return "Unschedulable" in reasons


def _patch_capacity(kubernetes: Kubernetes, node: str, capacity: dict[str, str | None]) -> None:
    patch = json.dumps({"status": {"capacity": capacity, "allocatable": capacity}})
    kubernetes.kubectl("patch", "node", node, "--subresource=status", "-p", patch)


def _shared_volume(name: str, namespace: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A volume of a team, and the claim of it that the example names."""
    size = {"storage": "1Gi"}
    modes = ["ReadOnlyMany"]
    claim = {"name": "climate-data", "namespace": namespace}
    made = {"capacity": size, "accessModes": modes, "hostPath": {"path": "/usr/share"}, "claimRef": claim}
    wanted = {"accessModes": modes, "resources": {"requests": size}, "storageClassName": "", "volumeName": name}
    return (
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": made},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": claim, "spec": wanted},
    )


def _as_the_example_says(pod: dict[str, Any]) -> dict[str, Any]:
    """A notebook's pod with what the example's comment adds to the hub's values."""
    text = (EXAMPLES / "jupyterhub.yaml").read_text()
    comment = "\n".join(line.removeprefix("#") for line in text.splitlines() if line.startswith("#"))
    storage = yaml.safe_load(comment[comment.index("   singleuser:") :].partition("     networkPolicy:")[0])
    storage = storage["singleuser"]["storage"]
    pod["spec"]["volumes"] = storage["extraVolumes"]
    pod["spec"]["containers"][0]["volumeMounts"] = storage["extraVolumeMounts"]
    pod["spec"]["automountServiceAccountToken"] = False
    return pod
