"""A release of the chart, and pods that use it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kubernetes.running import CommandFailed, Kubernetes, image, said_of, until

CHART = Path(__file__).parent.parent.parent.parent / "deploy" / "helm" / "headrace"
RELEASE = "headrace"
INSTALL_SECONDS = 300
PROMETHEUS = {"app": "prometheus"}
"""Labels of pods that the network policies admit as Prometheus."""


@dataclass(frozen=True)
class Installation:
    """The release `headrace` in a namespace. `values` is a file with `small`."""

    kubernetes: Kubernetes
    namespace: str
    values: Path

    @property
    def small(self) -> dict[str, Any]:
        """The names of the tests' images, pods of which several fit onto the test's one node, and a Prometheus."""
        least = {"resources": {"requests": {"cpu": "10m"}}}
        policy = {
            "scheduler": {"cores": 0.01, "memory_bytes": "512 MiB"},
            "worker": {"cores": 0.01, "memory_bytes": "512 MiB"},
        }
        return {
            **self.images,
            **dict.fromkeys(("auth", "controller", "valkey"), least),
            "proxy": {**least, "envoy": least},
            "policy": policy,
            "networkPolicy": {"prometheus": [{"podSelector": {"matchLabels": PROMETHEUS}}]},
        }

    @property
    def images(self) -> dict[str, Any]:
        names = {"headrace": "headrace", "dask": "headrace-dask", "envoy": "envoy", "valkey": "valkey"}
        split = {key: image(name).rpartition(":") for key, name in names.items()}
        return {"images": {key: {"name": name, "tag": tag} for key, (name, _, tag) in split.items()}}

    @property
    def deployment(self) -> str:
        return f"{self.namespace}-{RELEASE}"

    def install(self, *options: str) -> None:
        self._helm("install", RELEASE, str(CHART), "-f", str(self.values), *options)

    def upgrade(self, *options: str) -> None:
        self._helm("upgrade", RELEASE, str(CHART), "-f", str(self.values), *options)

    def rollback(self, revision: int) -> None:
        self._helm("rollback", RELEASE, str(revision))

    def uninstall(self, *options: str) -> None:
        self._helm("uninstall", RELEASE, "--ignore-not-found", *options)

    def test(self) -> str:
        return self.kubernetes.helm("test", RELEASE, "-n", self.namespace, "--logs", "--timeout", f"{INSTALL_SECONDS}s")

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self.kubernetes.kubectl("-n", self.namespace, *arguments, stdin=stdin)

    def get(self, *arguments: str) -> dict[str, Any]:
        return self.kubernetes.get(*arguments, "-n", self.namespace)

    def secret(self, name: str) -> dict[str, str]:
        """Data of a Secret of the release, as the API has it."""
        return self.get("secret", f"{RELEASE}-{name}")["data"]

    def dask_pods(self, cluster: str = "") -> dict[str, str]:
        """Phase of each Dask pod of the deployment, or of a cluster, that is not being removed, by its uid."""
        of = f",headrace.dev/cluster={cluster}" if cluster else ""
        pods = self.get("pods", "-l", f"headrace.dev/deployment={self.deployment}{of}")["items"]
        return {
            pod["metadata"]["uid"]: pod["status"]["phase"] for pod in pods if "deletionTimestamp" not in pod["metadata"]
        }

    def run(self, name: str, script: str, of: str = "headrace-dask") -> str:
        """Runs a script in a pod such as a notebook's, of an image, and returns what it printed."""
        self.begin(name, script, of)
        return self.finish(name)

    def begin(self, name: str, script: str, of: str = "headrace-dask") -> None:
        """Starts such a pod."""
        self.kubernetes.apply(client_pod(self.namespace, name, textwrap.dedent(script), image(of)))

    def finish(self, name: str) -> str:
        """Waits until the pod has ended well, removes it, and returns what it printed."""
        phase = until(lambda: self._ended(name), f"{name} has ended", within=INSTALL_SECONDS)
        printed = self.kubectl("logs", name)
        assert phase == "Succeeded", printed
        self.kubectl("delete", "pod", name, "--wait=false")
        return printed

    def log(self, name: str) -> str:
        return self.kubectl("logs", name)

    def _ended(self, name: str) -> str:
        phase = self.get("pod", name)["status"]["phase"]
        return phase if phase in {"Succeeded", "Failed"} else ""

    def _helm(self, *arguments: str) -> None:
        try:
            self.kubernetes.helm(*arguments, "-n", self.namespace, "--wait", "--timeout", f"{INSTALL_SECONDS}s")
        except CommandFailed as failure:
            failure.add_note(said_of(self.kubernetes, self.namespace))
            raise


def client_pod(namespace: str, name: str, script: str, of: str) -> dict[str, Any]:
    """A pod with the default service account and nothing mounted."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "client",
        "image": of,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-u", "-c", script],
        "securityContext": security,
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 5,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }
