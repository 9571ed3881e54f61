"""Backends for tests: pods that run programs of ours instead of the agent."""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.pod_templates import PodTemplates
from headrace_backend_kubernetes.profile_settings import PodDefaults
from headrace_controller.backends.base import Deployment
from headrace_controller.backends.process import ProcessSpec


class ProgramTemplates(PodTemplates):
    """Runs the option `start_command` in the pods of processes that have one."""

    def of(self, spec: ProcessSpec) -> dict[str, Any]:
        pod = super().of(spec)
        if command := spec.settings.get("start_command"):
            assert isinstance(command, list)
            container = pod["spec"]["containers"][0]
            del container["args"]
            container["command"] = ["python3" if word == sys.executable else word for word in command]
            host = {"fieldRef": {"fieldPath": "status.podIP"}}
            container["env"] = [{"name": "TEST_LISTEN_HOST", "valueFrom": host}, *container["env"]]
        return pod


@dataclass(frozen=True, kw_only=True)
class Site:
    """Makes backends of one deployment, each time the same, as a controller does that starts again."""

    kubeconfig: Path
    namespace: str
    image: str
    deployment: str = ""

    def backend(self, pods: dict[str, Any] | None = None, **settings: Any) -> KubernetesBackend:
        defaults = {
            "image": self.image,
            "image_pull_policy": "IfNotPresent",
            "termination_grace_period_seconds": 2,
            # A program that is the first process of its pod could not be ended by signals that it does not handle.
            "extra_pod_config": {"shareProcessNamespace": True},
            "extra_container_config": {"resources": {"requests": {"cpu": "10m", "memory": "32Mi"}}},
            **(pods or {}),
        }
        made = Settings(
            kubeconfig=self.kubeconfig,
            namespace=self.namespace,
            pods=PodDefaults.model_validate(defaults),
            **settings,
        )
        endpoint = "controller.test:50051"
        return KubernetesBackend(
            made,
            Deployment(id=self.deployment, agent_endpoint=endpoint, keys=(b"key",)),
            make_templates=ProgramTemplates,
        )


def new_deployment() -> str:
    return f"test-{secrets.token_hex(4)}"
