"""What many pods cost a controller and the API server: pods of pretended nodes, which never really run.

    KUBECONFIG=... .venv/bin/python -m benchmarks.kubernetes --pods 1000 --clusters 1

Needs pretended nodes (`tests/kubernetes`) and a namespace. Figures are of this process,
which has the backend alone, and per pod over its whole life: created, running, stopped, forgotten.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from prometheus_client import REGISTRY

from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.profile_settings import PodDefaults
from headrace_controller.backends.base import Deployment
from headrace_controller.backends.process import ProcessKey, ProcessSpec, ProcessState, Role
from headrace_controller.model import Resources

PODS = {
    "image": "localhost/none:1",
    "node_selector": {"type": "kwok"},
    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
    "termination_grace_period_seconds": 2,
}
MIB = 1 << 20


def _backend(namespace: str, deployment: str) -> KubernetesBackend:
    settings = Settings(
        kubeconfig=Path(os.environ["KUBECONFIG"]),
        namespace=namespace,
        pods=PodDefaults.model_validate(PODS),
        requests_per_second=1000,
    )
    return KubernetesBackend(settings, Deployment(id=deployment, agent_endpoint="controller.test:50051"))


def _spec(cluster: str, number: int) -> ProcessSpec:
    return ProcessSpec(
        key=ProcessKey(cluster, f"default-{number}-abcdef"),
        backend="kubernetes",
        role=Role.WORKER,
        generation=1,
        owner="ann",
        agent_token="",
        agent_ca_pem="x" * 1000,
        resources=Resources(cores=0.001, memory_bytes=MIB),
        labels={"owner": "ann", "profile": "small", "group": "default"},
    )


class Costs:
    """CPU, memory and requests since the last reading."""

    def __init__(self) -> None:
        self._cpu, self._began = time.process_time(), time.monotonic()
        self._requests = _requests()

    def read(self, what: str, pods: int) -> dict[str, object]:
        cpu, now, requests = time.process_time(), time.monotonic(), _requests()
        made = requests - self._requests
        row: dict[str, object] = {
            "what": what,
            "seconds": round(now - self._began, 2),
            "cpu_ms_per_pod": round(1000 * (cpu - self._cpu) / pods, 3),
            "requests_per_pod": round(made.total() / pods, 3),
            "requests": dict(made),
            "rss_mib": round(_rss() / MIB, 1),
        }
        self._cpu, self._began, self._requests = cpu, now, requests
        return row


def _requests() -> Counter[str]:
    found: Counter[str] = Counter()
    for metric in REGISTRY.collect():
        for sample in metric.samples:
            if sample.name == "headrace_kubernetes_requests_total":
                found[f"{sample.labels['verb']} {sample.labels['resource']} {sample.labels['code']}"] += int(
                    sample.value
                )
    return found


def _rss() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def _until(backend: KubernetesBackend, state: ProcessState, pods: int) -> None:
    changes = backend.changes()
    reached = sum(status.state is state for status in await backend.observe())
    while reached < pods:
        status = await anext(changes)
        reached += status.state is state


async def measure(namespace: str, pods: int, clusters: int) -> AsyncIterator[dict[str, object]]:
    """Launches pods, waits until they run, restarts the backend, and stops and forgets them all."""
    deployment = f"bench-{secrets.token_hex(3)}"
    backend = _backend(namespace, deployment)
    costs = Costs()
    await backend.open()
    yield costs.read("open", pods)
    names = [f"c{secrets.token_hex(8)}" for _ in range(clusters)]
    each = pods // clusters
    running = asyncio.create_task(_until(backend, ProcessState.RUNNING, each * clusters))
    await asyncio.gather(*(backend.start([_spec(name, n) for n in range(each)]) for name in names))
    yield costs.read("start, until accepted", pods)
    await running
    yield costs.read("until all run", pods)
    await backend.close()
    backend = _backend(namespace, deployment)
    gc.collect()
    costs.read("", pods)
    await backend.open()
    yield costs.read("another controller: open", pods)
    await asyncio.gather(*map(backend.stop, names))
    yield costs.read("stop, until all have ended", pods)
    await asyncio.gather(*map(backend.forget, names))
    yield costs.read("forget", pods)
    await backend.close()


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--clusters", type=int, default=1)
    parser.add_argument("--namespace", default="default", help="an existing one (default: default)")
    arguments = parser.parse_args()
    async for row in measure(arguments.namespace, arguments.pods, arguments.clusters):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    asyncio.run(_main())
