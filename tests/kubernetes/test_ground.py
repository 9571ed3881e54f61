"""What the other tests stand on: the cluster itself, and our images on it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.kubernetes.running import PRETENDED, RECIPE, CommandFailed, Kubernetes, image, lose, pretended_node, until

ON_PRETENDED: dict[str, Any] = {"nodeSelector": {"type": "kwok"}, "tolerations": [PRETENDED]}
RESTRICTED = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _pod(name: str, of: str, *command: str, **spec: Any) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image(of),
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        "securityContext": RESTRICTED,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [container], "terminationGracePeriodSeconds": 1, **spec},
    }


def _said(kubernetes: Kubernetes, namespace: str, pod: dict[str, Any]) -> str:
    """Runs a pod to its end; returns what it said."""
    name = pod["metadata"]["name"]
    pod["metadata"]["namespace"] = namespace
    kubernetes.apply(pod)

    def phase() -> str:
        return kubernetes.get("pod", name, "-n", namespace)["status"]["phase"]

    ended = until(lambda: phase() in {"Succeeded", "Failed"} and phase(), f"pod {name} has ended")
    said = kubernetes.kubectl("logs", name, "-n", namespace)
    assert ended == "Succeeded", said
    return said


@pytest.mark.parametrize("service", ["headrace_auth", "headrace_controller", "headrace_proxy"])
def test_the_services_run_without_root_on_a_read_only_root(
    kubernetes: Kubernetes, namespace: str, service: str
) -> None:
    pod = _pod(service.replace("_", "-"), "headrace", "python3", "-m", service, "--help")
    assert "check-config" in _said(kubernetes, namespace, pod)


def test_the_image_of_the_services_has_no_shell(kubernetes: Kubernetes, namespace: str) -> None:
    code = "import shutil; print([name for name in ('sh', 'bash', 'dash', 'apt-get', 'pip') if shutil.which(name)])"
    assert _said(kubernetes, namespace, _pod("shell", "headrace", "python3", "-c", code)).strip() == "[]"


def test_code_in_an_image_is_compiled(kubernetes: Kubernetes, namespace: str) -> None:
    code = """if True:
        import importlib.util, pathlib, sys
        for name in ("headrace.agent", "distributed.worker", "asyncio"):
            assert pathlib.Path(importlib.util.find_spec(name).cached).exists(), name
        print("compiled")"""
    assert _said(kubernetes, namespace, _pod("compiled", "headrace-dask", "python", "-c", code)).strip() == "compiled"


@pytest.mark.parametrize(("of", "version"), [("headrace-dask", "2026."), ("old-dask", "2024.10.0")])
def test_the_agent_is_beside_dask_of_each_age(kubernetes: Kubernetes, namespace: str, of: str, version: str) -> None:
    code = "import headrace.agent, dask, distributed; print(distributed.__version__)"
    assert _said(kubernetes, namespace, _pod(of, of, "python", "-c", code)).startswith(version)


def test_the_image_without_headrace_has_dask_only(kubernetes: Kubernetes, namespace: str) -> None:
    code = "import distributed, importlib.util; print(importlib.util.find_spec('headrace'))"
    assert _said(kubernetes, namespace, _pod("plain", "plain-dask", "python", "-c", code)).strip() == "None"


def test_envoy_and_valkey_start(kubernetes: Kubernetes, namespace: str) -> None:
    assert "1." in _said(kubernetes, namespace, _pod("envoy", "envoy", "envoy", "--version"))
    assert "v=" in _said(kubernetes, namespace, _pod("valkey", "valkey", "valkey-server", "--version"))


def test_a_deadline_ends_a_pod_and_keeps_it(kubernetes: Kubernetes, namespace: str) -> None:
    code = "import signal; signal.pause()"
    real = _pod("real", "headrace", "python3", "-c", code)
    kubernetes.apply(*(_in(namespace, pod) for pod in (real, _pod("pretended", "headrace", "x", **ON_PRETENDED))))
    for name in ("real", "pretended"):
        until(lambda name=name: _status(kubernetes, namespace, name)["phase"] == "Running", f"{name} runs")
        kubernetes.kubectl("patch", "pod", name, "-n", namespace, "-p", '{"spec": {"activeDeadlineSeconds": 1}}')
    for name in ("real", "pretended"):
        until(lambda name=name: _status(kubernetes, namespace, name)["phase"] == "Failed", f"{name} has ended")
        status = _status(kubernetes, namespace, name)
        assert status["reason"] == "DeadlineExceeded"
        assert "terminated" in status["containerStatuses"][0]["state"]


def test_a_full_quota_refuses_a_pod(kubernetes: Kubernetes, namespace: str) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    kubernetes.apply(_in(namespace, quota))
    try:
        until(lambda: "quota" in kubernetes.refusal(namespace), "the quota is in force")
        with pytest.raises(CommandFailed, match="exceeded quota: none"):
            kubernetes.apply(_in(namespace, _pod("too-many", "headrace", "x")))
    finally:
        kubernetes.kubectl("delete", "resourcequota", "none", "-n", namespace)
        until(lambda: not kubernetes.refusal(namespace), "the quota is out of force")


def test_pod_security_refuses_what_is_not_restricted(kubernetes: Kubernetes, namespace: str) -> None:
    kubernetes.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    try:
        until(lambda: "PodSecurity" in kubernetes.refusal(namespace, hostNetwork=True), "the label is in force")
        with pytest.raises(CommandFailed, match="violates PodSecurity"):
            kubernetes.apply(_in(namespace, _pod("host", "headrace", "x", hostNetwork=True)))
        kubernetes.apply(_in(namespace, _pod("fit", "headrace", "x", **ON_PRETENDED)))
    finally:
        kubernetes.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce-")


def test_an_eviction_is_told_in_the_pod(kubernetes: Kubernetes, namespace: str) -> None:
    held = _in(namespace, _pod("evicted", "headrace", "x", **ON_PRETENDED))
    held["metadata"]["finalizers"] = ["headrace.dev/test"]
    kubernetes.apply(held)
    until(lambda: _status(kubernetes, namespace, "evicted")["phase"] == "Running", "it runs")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "evicted", "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/evicted/eviction"
    kubernetes.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    try:
        assert _disruption(kubernetes, namespace, "evicted") == "EvictionByEvictionAPI"
    finally:
        kubernetes.kubectl("patch", "pod", "evicted", "-n", namespace, "-p", '{"metadata": {"finalizers": null}}')


def test_pods_of_a_lost_node_are_marked_and_stay(kubernetes: Kubernetes, namespace: str) -> None:
    with pretended_node(kubernetes, f"lost-{namespace[-6:]}") as node:
        soon = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
        tolerations = [PRETENDED, {**soon, "tolerationSeconds": 1}]
        kubernetes.apply(
            _in(namespace, _pod("lost", "headrace", "x", nodeSelector={"type": node}, tolerations=tolerations))
        )
        until(lambda: _status(kubernetes, namespace, "lost")["phase"] == "Running", "it runs")
        lose(kubernetes, node)
        reason = until(lambda: _disruption(kubernetes, namespace, "lost"), "it is marked")
        assert reason == "DeletionByTaintManager"
        until(lambda: "deletionTimestamp" in _pod_metadata(kubernetes, namespace, "lost"), "it is to be deleted")
        assert _status(kubernetes, namespace, "lost")["phase"] == "Running"


def _disruption(kubernetes: Kubernetes, namespace: str, name: str) -> str:
    """Why somebody else ends a pod, empty if nobody does."""
    conditions = _status(kubernetes, namespace, name).get("conditions", [])
    return next((one["reason"] for one in conditions if one["type"] == "DisruptionTarget"), "")


def _in(namespace: str, manifest: dict[str, Any]) -> dict[str, Any]:
    manifest["metadata"]["namespace"] = namespace
    return manifest


def _pod_metadata(kubernetes: Kubernetes, namespace: str, name: str) -> dict[str, Any]:
    return kubernetes.get("pod", name, "-n", namespace)["metadata"]


def _status(kubernetes: Kubernetes, namespace: str, name: str) -> dict[str, Any]:
    return kubernetes.get("pod", name, "-n", namespace)["status"]


def test_a_refused_start_leaves_the_running_cluster_alone(kubernetes: Kubernetes, tmp_path: Path) -> None:
    if not Path("/run/netns/test-kubernetes").exists():
        pytest.skip("the cluster is not of our recipe")
    command = [sys.executable, RECIPE / "cluster.py"]
    done = subprocess.run([*command, "up", tmp_path], check=False, capture_output=True, text=True)
    assert "a cluster is up on this machine" in done.stderr
    subprocess.run([*command, "down", tmp_path], check=True)
    assert kubernetes.get("node", "node-1")["status"]["conditions"]
    assert Path("/run/netns/test-kubernetes").exists()
