"""Kubernetes lets pods wait, refuses and ends them by itself, and the backend says so as each backend must."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from tests.backends.platform_contract import PlatformContract
from tests.backends.processes import new_cluster
from tests.kubernetes.backend.opened import Site
from tests.kubernetes.running import PRETENDED, Kubernetes, pretended_node

from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_backend_kubernetes.profile_settings import ProfileSettings
from headrace_controller.backends.process import ProcessKey, ProcessSpec


class RealPlatform:
    """A profile whose node is not there yet, one whose image is nowhere, and evictions."""

    def __init__(self, kubernetes: Kubernetes, backend: KubernetesBackend, joined: ExitStack) -> None:
        self._kubernetes = kubernetes
        self._backend = backend
        self._joined = joined
        self._node = f"room-{new_cluster()[:8]}"
        settings = {
            "waiting": {"tolerations": [PRETENDED], "node_selector": {"type": self._node}},
            "impossible": {"image": "localhost/no-such:1", "image_pull_policy": "Never"},
        }
        backend.use_profiles({key: ProfileSettings.model_validate(each) for key, each in settings.items()})

    def waiting(self, spec: ProcessSpec) -> ProcessSpec:
        return replace(spec, labels={"profile": "waiting"})

    def impossible(self, spec: ProcessSpec) -> ProcessSpec:
        return replace(spec, labels={"profile": "impossible"})

    async def make_room(self, cluster: str, process: str) -> None:
        node = pretended_node(self._kubernetes, self._node)
        await asyncio.to_thread(self._joined.enter_context, node)

    async def announce_end(self, cluster: str, process: str) -> None:
        pod = self._backend.table.pod(ProcessKey(cluster, process))
        assert pod
        name = {"name": pod.name, "namespace": pod.namespace}
        eviction = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": name})
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/eviction"
        await asyncio.to_thread(self._kubernetes.kubectl, "create", "--raw", path, "-f", "-", stdin=eviction)

    async def end(self, cluster: str, process: str) -> None:
        """The kubelet does, when the pod's grace is over."""


class TestKubernetesPlatform(PlatformContract):
    @pytest.fixture
    def joined(self) -> Iterator[ExitStack]:
        """Nodes that joined; they stay until the backend has stopped its pods."""
        with ExitStack() as joined:
            yield joined

    @pytest.fixture
    def opened(self, site: Site, joined: ExitStack) -> KubernetesBackend:
        return site.backend()

    @pytest.fixture
    def platform(self, kubernetes: Kubernetes, opened: KubernetesBackend, joined: ExitStack) -> RealPlatform:
        return RealPlatform(kubernetes, opened, joined)
