"""What a list of pods says after a watch has broken: the API server answers with what a test says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.backends.kubernetes.served import served
from tests.backends.processes import spec

from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.connecting import connect
from headrace_backend_kubernetes.namespaces import Namespaces
from headrace_backend_kubernetes.pod_table import PodTable
from headrace_backend_kubernetes.pod_templates import PodTemplates
from headrace_backend_kubernetes.process_pods import ProcessPods
from headrace_backend_kubernetes.profile_settings import PodDefaults
from headrace_backend_kubernetes.seals import PodSeals
from headrace_controller.backends.process import SCHEDULER

SEALS = PodSeals([b"key"], "d")
PODS = ProcessPods(deployment="d", endpoint="c:1", token_seconds=3600, seals=SEALS)
TEMPLATES = PodTemplates(PodDefaults.model_validate({"image": "dask:1"}), {}, "ns")
SPEC = spec("c1", SCHEDULER)


def pod(uid: str, version: int, **annotations: str) -> dict[str, Any]:
    made: dict[str, Any] = PODS.of(SPEC, TEMPLATES)
    made["metadata"] |= {"uid": uid, "resourceVersion": str(version)}
    made["metadata"]["annotations"] |= annotations
    return made


@pytest.mark.parametrize(
    ("next_pod", "runs"),
    [
        (pod("u1", 2, **{"headrace.dev/seal": "changed"}), True),
        (pod("u2", 2, **{"headrace.dev/seal": "forged"}), False),
        (pod("u1", 2) | {"status": {"startTime": "never"}}, True),
        (pod("u2", 2) | {"status": {"phase": 1}}, False),
        (None, False),
    ],
    ids=["changed by somebody", "somebody's of the same name", "cannot be read", "another that cannot be read", "gone"],
)
async def test_a_process_is_there_as_long_as_its_very_pod_is(
    next_pod: dict[str, Any] | None, runs: bool, tmp_path: Path
) -> None:
    listed: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        if "watch" in request.query:
            return web.Response()
        shown = listed if request.path.endswith("/pods") else []
        return web.json_response({"metadata": {"resourceVersion": "9"}, "items": shown})

    table = PodTable(remembered=10)
    async with served(answer, tmp_path) as kubeconfig:
        api = await connect(Settings(kubeconfig=kubeconfig, namespace="ns"))
        for items in ([pod("u1", 1)], [next_pod] if next_pod else []):
            listed[:] = items
            namespaces = Namespaces(api, table, "", SEALS)
            await namespaces.open("ns", ())
            await namespaces.close()
        await api.close()
    assert table.runs(SPEC.key) is runs
