"""A release that takes on the values of one example after the other, as an administrator's would."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kubernetes.chart.installation import CHART, RELEASE, Installation
from tests.kubernetes.running import CommandFailed, Kubernetes, until

EXAMPLES = CHART.parent / "examples"
_CONTROLLERS = "-l=app.kubernetes.io/component=controller"
_SHOW_POLICY = "print(open('/etc/headrace/policy/policy.yaml').read(), end='')"
# Waits until the policy offers the profile, then computes in a new cluster: `run(gateway, "gpu", work)`.
COMPUTE = """
import time
import headrace

def run(gateway, profile=None, work=lambda: sum(range(10)), **options):
    while profile and profile not in [each.key for each in gateway.profiles()]:
        time.sleep(0.2)
    with gateway.new_cluster(profile=profile, **options) as cluster:
        print("cluster", cluster.name, flush=True)
        cluster.scale(1)
        with cluster.get_client() as client:
            print("result", client.submit(work).result(), flush=True)
            return client.run_on_scheduler(lambda: __import__("socket").gethostname())
"""
PLAIN = f"""{COMPUTE}
with headrace.Gateway() as gateway:
    print("user", gateway.whoami().name)
    run(gateway)
"""


@dataclass
class Examples:
    """A release in a namespace of its own, with the values of one example at a time."""

    installation: Installation
    folder: Path
    _installed: bool = field(default=False, init=False)
    _failure: CommandFailed | None = field(default=None, init=False)

    @property
    def namespace(self) -> str:
        return self.installation.namespace

    def take(
        self,
        example: str,
        changes: Mapping[str, Any] | None = None,
        *,
        names: Mapping[str, str] | None = None,
        hooks: bool = False,
    ) -> Installation:
        """Install the example, or upgrade to it; the changes are what only its own environment could have.

        Names stand for those of the file that others could have in the same cluster. An upgrade runs the job of
        credentials only where the example asks for other ones.
        """
        if self._failure:
            # Whatever Helm says of what is left of it would hide why.
            raise AssertionError(f"no release to upgrade: its installation failed: {self._failure}") from self._failure
        text = (EXAMPLES / f"{example}.yaml").read_text()
        for old, new in (names or {}).items():
            text = re.sub(rf"(?<![\w.-]){re.escape(old)}(?![\w.-])", new, text)
        options: list[str] = []
        for number, layer in enumerate((text, json.dumps(self.installation.small), json.dumps(changes or {}))):
            file = self.folder / f"{example}-{number}.yaml"
            file.write_text(layer)
            options.append(f"--values={file}")
        before = self._policies()
        if self._installed:
            self.installation.upgrade(*options, *(() if hooks else ("--no-hooks",)))
        else:
            self._install(*options)
        self._await_new_controllers()
        self._await_policy(before)
        return self.installation

    def _install(self, *options: str) -> None:
        try:
            self.installation.install(*options)
        except CommandFailed as failure:
            self._failure = failure
            raise
        self._installed = True

    def _await_new_controllers(self) -> None:
        """Wait until no controller with the example before has clusters any more: it would start theirs its own way."""

        def alone() -> bool:
            pods = self.installation.get("pods", _CONTROLLERS)["items"]
            return not any("deletionTimestamp" in pod["metadata"] for pod in pods)

        until(alone, "the controllers before have ended")

    def _await_policy(self, before: Mapping[str, tuple[str, int]]) -> None:
        """Wait until each controller has the new policy in force. The kubelet looks again when a pod changes."""
        self.installation.kubectl("annotate", "pods", _CONTROLLERS, "--overwrite", f"changed={secrets.token_hex(4)}")
        wanted = self.installation.get("configmap", f"{RELEASE}-policy")["data"]["policy.yaml"]
        self.installation.kubectl("wait", "pods", _CONTROLLERS, "--for=condition=Ready", "--timeout=120s")

        def in_force(container: str, text: str, taken: int) -> bool:
            # One that was not there before has read it at its start, and says nothing.
            text_before, taken_before = before.get(container, ("", -1))
            return text == wanted and (text == text_before or taken > taken_before)

        until(lambda: all(in_force(each, *now) for each, now in self._policies().items()), "the policy is in force")

    def _policies(self) -> dict[str, tuple[str, int]]:
        """The file that each controller has, and how often it has put a changed one in force, by its container."""
        found: dict[str, tuple[str, int]] = {}
        for pod in self.installation.get("pods", _CONTROLLERS)["items"]:
            name = pod["metadata"]["name"]
            text = self.installation.kubectl("exec", name, "--", "python3", "-c", _SHOW_POLICY)
            [container] = pod["status"]["containerStatuses"]
            found[container["containerID"]] = text, self.installation.log(name).count("a new policy is in force")
        return found


@contextmanager
def one_release(kubernetes: Kubernetes, folder: Path, name: str) -> Generator[Examples]:
    """Have a namespace that enforces PodSecurity `restricted`. At the end it goes, with all that runs there."""
    namespace = f"test-{name}-{secrets.token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    # Beside each example: for one small node.
    installation = Installation(kubernetes, namespace, EXAMPLES / "trial.yaml")
    try:
        yield Examples(installation, folder)
        installation.uninstall("--no-hooks")
    finally:
        kubernetes.kubectl("delete", "namespace", namespace, "--wait=false")
