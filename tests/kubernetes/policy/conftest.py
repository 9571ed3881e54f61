"""A backend with the profiles that a test wants, on a real Kubernetes."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.kubernetes.running import Kubernetes, until

from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.profile_settings import PodDefaults, ProfileSettings
from headrace_controller.backends.base import Deployment
from headrace_controller.backends.process import ProcessKey, ProcessSpec, ProcessState, Role
from headrace_controller.model import Resources

SMALL = Resources(cores=0.01, memory_bytes=32 * 2**20)


@dataclass
class Site:
    """A backend in a namespace of its own, and what the API server has of its pods."""

    kubernetes: Kubernetes
    namespace: str
    backend: KubernetesBackend
    cluster: str = field(default_factory=lambda: f"c{secrets.token_hex(4)}")

    def use(self, **settings: Any) -> None:
        """Puts settings of the profile `p` in force."""
        self.backend.use_profiles({"p": ProfileSettings.model_validate(settings)})

    async def start(
        self, process: str = "worker-1", *, group: str = "default", resources: Resources = SMALL, **facts: Any
    ) -> dict[str, Any]:
        """Starts a process; returns its pod."""
        role = Role.SCHEDULER if process == "scheduler" else Role.WORKER
        spec = ProcessSpec(
            key=ProcessKey(self.cluster, process),
            backend="kubernetes",
            role=role,
            generation=1,
            owner="ann",
            agent_token="",
            resources=resources,
            labels={"owner": "ann", "profile": "p", **({"group": group} if role is Role.WORKER else {})},
            **facts,
        )
        await self.backend.start([spec])
        return self.pod(process)

    def pod(self, process: str) -> dict[str, Any]:
        selector = f"headrace.dev/cluster={self.cluster},headrace.dev/process={process}"
        [found] = self.kubernetes.get("pods", "-n", self.namespace, "-l", selector)["items"]
        return found

    async def scheduled(self, process: str) -> dict[str, Any]:
        """Returns the pod once it has a node."""
        return await asyncio.to_thread(
            until, lambda: (pod := self.pod(process))["spec"].get("nodeName") and pod, f"{process} has a node"
        )

    async def output(self, process: str) -> list[str]:
        """Returns what a process has written, once it has ended."""
        async with asyncio.timeout(120):
            while True:
                [status] = [one for one in await self.backend.observe(self.cluster) if one.key.process == process]
                if status.state is ProcessState.EXITED:
                    break
                await asyncio.sleep(0.1)
        assert status.exit_code == 0, status
        pieces = [piece async for piece in self.backend.logs(self.cluster, process)]
        return b"".join(piece.lines for piece in pieces).decode().splitlines()


@pytest.fixture
async def site(kubernetes: Kubernetes, namespace: str, image: Callable[[str], str]) -> AsyncIterator[Site]:
    pods = PodDefaults(
        image=image("headrace-dask"), image_pull_policy="IfNotPresent", termination_grace_period_seconds=2
    )
    settings = Settings(kubeconfig=kubernetes.kubeconfig, namespace=namespace, pods=pods)
    deployment = Deployment(id=f"test-{secrets.token_hex(3)}", agent_endpoint="controller.test:50051", keys=(b"key",))
    backend = KubernetesBackend(settings, deployment)
    await backend.open()
    made = Site(kubernetes, namespace, backend)
    try:
        yield made
    finally:
        await backend.stop(made.cluster)
        await backend.forget(made.cluster)
        await backend.close()
