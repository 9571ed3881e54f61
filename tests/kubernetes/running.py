"""A Kubernetes for tests: the one that KUBECONFIG names, or our own, started here and ended again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kubernetes import images

ROOT = Path(__file__).parent.parent.parent
BINARIES = images.BINARIES
RECIPE = Path(__file__).parent / "recipe"
FAKE_NODES = 3
PRETENDED = {"key": "kwok.x-k8s.io/node", "operator": "Exists"}
"""The toleration that lets a pod on to pretended nodes."""
SECOND_NODE = "node-2"
ON_SECOND_NODE = {"key": "test-kubernetes/second-node", "operator": "Exists"}
"""The toleration that lets a pod on to the second real node."""
READY = 'jsonpath={.status.conditions[?(@.type=="Ready")]}'


class CommandFailed(AssertionError):
    """kubectl or helm said no; the text is what it said."""


@dataclass(frozen=True)
class Kubernetes:
    """A running cluster, as its administrator reaches it."""

    kubeconfig: Path

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self._run("kubectl", *arguments, stdin=stdin)

    def helm(self, *arguments: str, stdin: str = "") -> str:
        return self._run("helm", *arguments, stdin=stdin)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Creates or changes objects, all in one call."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def get(self, *arguments: str) -> dict[str, Any]:
        """Returns an object, or a list of them, as the API has it: ``get("pod", name, "-n", namespace)``."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def refusal(self, namespace: str, **spec: Any) -> str:
        """What the API server says of a pod, which it does not keep; "" if it would take it.

        It hears of quotas and labels of namespaces only some time after those who write them.
        """
        metadata = {"name": "tried", "namespace": namespace}
        whole = {"containers": [{"name": "c", "image": "localhost/none:1"}], **spec}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole}
        try:
            self.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
        except CommandFailed as failure:
            return str(failure)
        return ""

    def _run(self, program: str, *arguments: str, stdin: str) -> str:
        done = subprocess.run(
            [program_path(program), *arguments],
            input=stdin,
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
        )
        if done.returncode:
            raise CommandFailed(
                f"{program} {' '.join(arguments)}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout


def program_path(name: str) -> str:
    """Where kubectl or helm is: ours if it was built, else the one on PATH."""
    ours = BINARIES / name
    return str(ours) if ours.exists() else name


def image(name: str) -> str:
    """The image of a name of images.py; HEADRACE_TEST_IMAGE_OLD_DASK and so on name others, for other clusters."""
    return os.environ.get(f"HEADRACE_TEST_IMAGE_{name.upper().replace('-', '_')}", f"localhost/{name}:test")


def until(reached: Callable[[], object], what: str, within: float = 120) -> Any:
    """Waits until the answer is true, and returns it. A command that fails meanwhile counts as "not yet".

    Each question costs a fifth of a second of a processor, which the pods need too: it is asked less and less often.
    """
    end = time.monotonic() + within
    said, pause = "", 0.1
    while time.monotonic() < end:
        try:
            if answer := reached():
                return answer
        except CommandFailed as failure:
            said = f": {failure}"
        time.sleep(pause)
        pause = min(pause * 1.3, 1)
    raise AssertionError(f"not within {within:.0f} s: {what}{said}")


def said_of(kubernetes: Kubernetes, namespace: str) -> str:
    """Pods, events and the ends of logs of a namespace, for whoever looks why a test failed."""
    said: list[str] = []
    for arguments in (
        ("get", "pods,jobs", "-o", "wide"),
        ("get", "events", "--sort-by=.lastTimestamp"),
        (
            "logs",
            "--selector=!none",
            "--all-containers",
            "--prefix",
            "--tail=30",
            "--ignore-errors",
            "--max-log-requests=100",
        ),
    ):
        try:
            said.append(kubernetes.kubectl(*arguments, "--namespace", namespace))
        except CommandFailed as failure:
            said.append(str(failure))
    return "\n".join(said)


@contextlib.contextmanager
def pretended_node(kubernetes: Kubernetes, name: str) -> Generator[str]:
    """A pretended node of one's own, with the label type=NAME: pods need that and PRETENDED's toleration."""
    taint = {"key": PRETENDED["key"], "value": "fake", "effect": "NoSchedule"}
    metadata = {"name": name, "annotations": {PRETENDED["key"]: "fake"}, "labels": {"type": name}}
    kubernetes.apply({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"taints": [taint]}})
    try:
        until(lambda: '"True"' in kubernetes.kubectl("get", "node", name, "-o", READY), f"{name} is ready")
        yield name
    finally:
        kubernetes.kubectl("delete", "node", name, "--ignore-not-found")


def lose(kubernetes: Kubernetes, node: str) -> None:
    """Takes a pretended node away as if its machine had lost power, and says so for the controllers at once.

    They would else find out after their grace period of 50 s. Its pods stay as they are until somebody deletes them by
    force; the controllers' taint makes them Terminating once their toleration has run out.
    """
    on_it = f"--field-selector=spec.nodeName={node}"
    kubernetes.kubectl("annotate", "pods", "--all-namespaces", on_it, "kwok.x-k8s.io/lost=true")
    kubernetes.kubectl("annotate", "node", node, f"{PRETENDED['key']}-")
    _say_unknown(kubernetes, node)


def _say_unknown(kubernetes: Kubernetes, node: str) -> None:
    """Says of a node that is silent, and of its pods, what the controllers say once they have found out."""
    unknown = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "gone in a test"}
    _set_condition(kubernetes, unknown, "node", node)
    pods: dict[str, list[str]] = {}
    for pod in kubernetes.get("pods", "--all-namespaces", f"--field-selector=spec.nodeName={node}")["items"]:
        pods.setdefault(pod["metadata"]["namespace"], []).append(pod["metadata"]["name"])
    for namespace, names in pods.items():
        _set_condition(kubernetes, {"type": "Ready", "status": "False"}, "pods", *names, "-n", namespace)


def _set_condition(kubernetes: Kubernetes, condition: dict[str, str], *of: str) -> None:
    patch = json.dumps({"status": {"conditions": [condition]}})
    kubernetes.kubectl("patch", *of, "--subresource=status", "-p", patch)


@dataclass(frozen=True)
class SecondNode:
    """A real node that a test may drain, fill and lose. Pods need ON_SECOND_NODE's toleration."""

    kubernetes: Kubernetes
    images: tuple[str, ...]
    name: str = SECOND_NODE

    @property
    def state(self) -> Path:
        return self.kubernetes.kubeconfig.parent

    def start(self) -> None:
        """Starts it, also after its loss, and lets pods on to it."""
        _recipe("add-node", self.state, *(f"--image={each}" for each in self.images))
        self.uncordon()

    def uncordon(self) -> None:
        """Returns when it takes pods: Kubernetes' controllers take their taints away after what these are for."""
        self.kubernetes.kubectl("uncordon", self.name)
        until(lambda: "node.kubernetes.io/" not in self._taints(), f"{self.name} takes pods")

    def lose(self) -> None:
        """Takes its power away, and says so for the controllers, which would find out after 50 s."""
        _recipe("lose-node", self.state)
        _say_unknown(self.kubernetes, self.name)

    def remove(self) -> None:
        _recipe("remove-node", self.state)

    def _taints(self) -> str:
        return self.kubernetes.kubectl("get", "node", self.name, "-o", "jsonpath={.spec.taints[*].key}")


def of_recipe(kubernetes: Kubernetes) -> bool:
    """Whether a cluster is our recipe's, on this machine."""
    return (kubernetes.kubeconfig.parent / "containerd.sock").exists()


@contextlib.contextmanager
def second_node(kubernetes: Kubernetes, *images: str) -> Generator[SecondNode]:
    """The second real node with these images. One that ran before is left running."""
    node = SecondNode(kubernetes, images)
    there = (node.state / node.name).exists()
    node.start()
    try:
        yield node
    finally:
        if not there:
            node.remove()


@contextlib.contextmanager
def own_cluster(keep: Path | None = None) -> Generator[Kubernetes]:
    """Builds what is missing, starts a cluster with our images, and ends it.

    With ``keep`` the cluster has its files there, is used again if it runs, and is not ended.
    """
    subprocess.run([RECIPE / "build.sh", BINARIES], check=True)
    state = keep or Path(tempfile.mkdtemp(prefix="hr-k8s-"))
    try:
        if not (keep and (state / "kubeconfig").exists()):
            _recipe("up", state, "--fake-nodes", str(FAKE_NODES))
        subprocess.run([sys.executable, "-m", images.__name__, "--load", state], cwd=ROOT, check=True)
        yield Kubernetes(state / "kubeconfig")
    finally:
        if not keep:
            _recipe("down", state)
            shutil.rmtree(state, ignore_errors=True)


def _recipe(task: str, state: Path, *arguments: str) -> None:
    command = [sys.executable, RECIPE / "cluster.py", task, state, "--binaries", BINARIES, *arguments]
    # In a session of its own: Ctrl-C must not end what takes the cluster down.
    subprocess.run(command, check=True, start_new_session=True)
