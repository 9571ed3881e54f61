"""A controller whose pods never run: ``python -m benchmarks.kubernetes.controller SETTINGS DIRECTORY``.

`backend.json` of the directory has the settings of its Kubernetes backend. It prints its processor time after the
imports, then a line for each pod that a pretended node says to run. Its metrics page counts its objects, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from pathlib import Path

from benchmarks.growth.controller import Build, run
from prometheus_client import Gauge

from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_backend_kubernetes.config import Settings as BackendSettings
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.seal import derive, read_deployment_keys
from headrace_chassis.server import serve
from headrace_controller.backends.base import Deployment
from headrace_controller.backends.process import SCHEDULER, ProcessState
from headrace_controller.config import Settings

OBJECTS = "benchmark_objects"
_DAY = 86400.0


async def main(settings: Settings, directory: Path, report: Callable[[str], None]) -> None:
    keys = read_deployment_keys(settings.deployment_key_file)
    deployment = Deployment(
        id=settings.deployment,
        agent_endpoint="controller.test:50051",
        keys=[derive(key, "backends") for key in keys],
    )
    backend = KubernetesBackend(
        BackendSettings.model_validate_json((directory / "backend.json").read_text()), deployment
    )
    Gauge(OBJECTS, "Objects that the garbage collector knows.").set_function(_objects)
    telling = asyncio.create_task(_tell(backend, AgentTokens(keys, settings.deployment), report))
    await serve(settings, Build(directory, backend))
    telling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await telling


async def _tell(backend: KubernetesBackend, tokens: AgentTokens, report: Callable[[str], None]) -> None:
    """Tells of pods that run: what a simulated agent needs, which has no token of its own, and no need to enrol."""
    told: set[tuple[str, str]] = set()
    async for status in backend.changes():
        key = status.key
        if status.state is ProcessState.RUNNING and (key.cluster, key.process) not in told:
            told.add((key.cluster, key.process))
            host = backend.network(key.cluster, SCHEDULER).ip_addresses[0] if key.process == SCHEDULER else "-"
            report(f"{key.cluster} {key.process} - {tokens.credential(key.cluster, key.process, _DAY)} {host}")


def _objects() -> int:
    gc.collect()
    return len(gc.get_objects())


if __name__ == "__main__":
    run(main)
