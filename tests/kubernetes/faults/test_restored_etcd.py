"""Kubernetes' own store is restored from a back-up while a controller runs: its pods are what the API server says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.backends.processes import new_cluster, spec, status
from tests.kubernetes.backend.opened import Site, new_deployment
from tests.kubernetes.backend.watched import exited, running, until
from tests.kubernetes.faults.control_plane import ControlPlane, control_plane
from tests.kubernetes.running import Kubernetes, of_recipe

from headrace.v1.enums import ExitCause
from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_controller.backends.process import ProcessState

CLUSTER = new_cluster()
RUNS = json.dumps({
    "status": {
        "phase": "Running",
        "containerStatuses": [
            {
                "name": "dask", "image": "i", "imageID": "i", "ready": True, "restartCount": 0,
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            }
        ],
    }
})  # fmt: skip

LATER: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"later-{number}"}} for number in range(100)
]
"""More than a restored API server writes by itself until it is asked again."""


@pytest.fixture
def plane(kubernetes: Kubernetes, tmp_path: Path) -> Iterator[ControlPlane]:
    if not of_recipe(kubernetes):
        pytest.skip("an API server of a test's own needs the programs of our own cluster")
    with control_plane(tmp_path) as plane:
        yield plane


async def test_after_a_restore_the_controller_knows_the_pods_that_there_are(plane: ControlPlane) -> None:
    site = Site(kubeconfig=plane.kubeconfig, namespace="default", image="i", deployment=new_deployment())
    backend = site.backend()
    with capture_logs() as lines:
        await backend.open()
        try:
            await _go_back(plane, backend)
        finally:
            await backend.close()
    said = {line["resource"] for line in lines if "restored from a back-up" in line["event"]}
    # The watch of events has shown nothing since and goes on from where it began, unless a bookmark has led it on.
    assert said - {"events"} == {"pods"}


async def _go_back(plane: ControlPlane, backend: KubernetesBackend) -> None:
    await backend.start([spec(CLUSTER, "stays"), spec(CLUSTER, "comes-back")])
    await asyncio.to_thread(plane.back_up)
    await backend.start([spec(CLUSTER, "never-was")])
    plane.apply(*LATER)
    stays = backend.table.running(CLUSTER, ["stays"])[0].name
    plane.kubectl("patch", "pod", stays, "--subresource=status", "-p", RUNS)
    await until(backend, CLUSTER, running, "stays")
    await backend.stop(CLUSTER, ["comes-back"])
    await asyncio.to_thread(plane.restore)

    lost = await until(backend, CLUSTER, exited, "never-was")
    assert lost.exit_cause is ExitCause.DELETED
    assert {
        name: (await status(backend, CLUSTER, name)).state for name in ("stays", "comes-back")
    } == {"stays": ProcessState.PENDING, "comes-back": ProcessState.PENDING}  # fmt: skip
    plane.kubectl("patch", "pod", stays, "--subresource=status", "-p", RUNS)  # as its node does
    await until(backend, CLUSTER, running, "stays")
    await backend.stop(CLUSTER, ["comes-back"])
    await backend.start([spec(CLUSTER, "new")])
    new = backend.table.running(CLUSTER, ["new"])[0].name
    plane.kubectl("delete", "pod", new)
    await until(backend, CLUSTER, exited, "new")
