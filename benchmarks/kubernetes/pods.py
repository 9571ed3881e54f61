"""What many pods cost a controller and the API server: pods of pretended nodes, which never really run.

Figures are of a process that has the backend alone, and per pod. Kubernetes itself decides how long all takes.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import secrets
import time
from collections import Counter
from pathlib import Path

from benchmarks.growth.tables import Row
from prometheus_client import REGISTRY

from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.profile_settings import PodDefaults
from headrace_controller.backends.base import Deployment
from headrace_controller.backends.process import SCHEDULER, ProcessKey, ProcessSpec, ProcessState, Role
from headrace_controller.model import Resources

PODS = {
    "image": "localhost/none:1",
    "node_selector": {"type": "kwok"},
    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
    # KWOK ends hundreds of pods one after the other: no pod may count as one that does not end.
    "termination_grace_period_seconds": 600,
}
MIB = 1 << 20


class Site:
    """A namespace, and a deployment that makes pods in it."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self._settings = Settings(
            kubeconfig=kubeconfig,
            namespace=namespace,
            pods=PodDefaults.model_validate(PODS),
            requests_per_second=1000,
        )
        self._deployment = Deployment(
            id=f"bench-{secrets.token_hex(3)}", agent_endpoint="controller.test:50051", keys=(b"key",)
        )

    def backend(self) -> KubernetesBackend:
        return KubernetesBackend(self._settings, self._deployment)


class Costs:
    """Processor time, memory and requests since the last reading."""

    def __init__(self) -> None:
        self._start()

    def read(self, pods: int) -> dict[str, float]:
        made = requests() - self._requests
        row = {
            "seconds": time.monotonic() - self._began,
            "CPU per pod, ms": 1000 * (time.process_time() - self._cpu) / pods,
            "requests per pod": made.total() / pods,
            "RSS, MiB": _rss() / MIB,
        }
        self._start()
        return row

    def _start(self) -> None:
        self._cpu, self._began, self._requests = time.process_time(), time.monotonic(), requests()


def requests() -> Counter[str]:
    """Requests to the API server until now, by what they did."""
    found: Counter[str] = Counter()
    for metric in REGISTRY.collect():
        for sample in metric.samples:
            if sample.name == "headrace_kubernetes_requests_total":
                found[f"{sample.labels['verb']} {sample.labels['resource']}"] += int(sample.value)
    return found


async def live(site: Site, pods: int, clusters: int) -> list[Row]:
    """Starts pods, waits until they run, restarts the backend, stops them and forgets their clusters."""
    rows: list[Row] = []
    backend = site.backend()
    costs = Costs()
    before = requests()

    def read(what: str) -> None:
        rows.append(Row(f"{pods:,} in {clusters}: {what}", "pods in clusters", costs.read(pods)))
        print(rows[-1], flush=True)

    await backend.open()
    costs.read(pods)
    names = [f"c{secrets.token_hex(8)}" for _ in range(clusters)]
    each = pods // clusters
    running = asyncio.create_task(_until_running(backend, each * clusters))
    await asyncio.gather(*(backend.start([spec(name, n) for n in range(each)]) for name in names))
    read("started")
    await running
    read("all run")
    await backend.close()
    backend = site.backend()
    gc.collect()
    costs.read(pods)
    await backend.open()
    read("another controller knows all")
    await asyncio.gather(*map(backend.stop, names))
    read("stopped, all have ended")
    await asyncio.gather(*map(backend.forget, names))
    read("forgotten")
    await backend.close()
    made = requests() - before
    print(f"{pods:,} pods in {clusters} clusters made {made.total() / pods:.2f} requests each:", dict(made), flush=True)
    return rows


def spec(cluster: str, number: int, role: Role = Role.WORKER) -> ProcessSpec:
    name = SCHEDULER if role is Role.SCHEDULER else f"default-{number}-abcdef"
    return ProcessSpec(
        key=ProcessKey(cluster, name),
        backend="kubernetes",
        role=role,
        generation=1,
        owner="ann",
        agent_token="",
        agent_ca_pem="x" * 1000,
        resources=Resources(cores=0.001, memory_bytes=MIB),
        manifest=b"x" * 2000 if role is Role.SCHEDULER else b"",
        labels={"owner": "ann", "profile": "small", "group": "default"},
    )


async def _until_running(backend: KubernetesBackend, pods: int) -> None:
    changes = backend.changes()
    running = {status.key for status in await backend.observe() if status.state is ProcessState.RUNNING}
    while len(running) < pods:
        status = await anext(changes)
        if status.state is ProcessState.RUNNING:
            running.add(status.key)


def _rss() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
