"""Pods of clusters whose namespace no profile names any more: they are looked for, and nothing is concluded before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.backends.kubernetes.served import served
from tests.backends.processes import spec
from tests.conftest import Eventually

from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.enrolment_secrets import secret_name
from headrace_backend_kubernetes.pod_templates import PodTemplates
from headrace_backend_kubernetes.process_pods import ProcessPods
from headrace_backend_kubernetes.profile_settings import PodDefaults, ProfileSettings
from headrace_backend_kubernetes.seals import PodSeals
from headrace_controller.backends.base import BackendError, Deployment
from headrace_controller.backends.process import SCHEDULER

DEPLOYMENT = Deployment(id="d", agent_endpoint="c:1", keys=(b"key",))
FIXED = {"scheduler": {"namespace": "old"}, "worker": {"namespace": "old"}}
KEY = spec("c1", SCHEDULER).key


def scheduler() -> dict[str, Any]:
    """The pod of a scheduler in the namespace `old`."""
    pods = ProcessPods(deployment="d", endpoint="c:1", token_seconds=3600, seals=PodSeals(DEPLOYMENT.keys, "d"))
    templates = PodTemplates(PodDefaults.model_validate({"image": "dask:1"}), {}, "old")
    made: dict[str, Any] = pods.of(spec("c1", SCHEDULER), templates)
    made["metadata"] |= {"uid": "u1", "resourceVersion": "1"}
    return made


class ApiServer:
    """Has the scheduler; whether its namespace may be read, a test says."""

    def __init__(self) -> None:
        self.allowed = True
        self.asked: set[str] = set()

    async def answer(self, request: web.Request) -> web.Response:
        namespace = request.path.split("/")[4]
        self.asked.add(namespace)
        if namespace == "old" and not self.allowed:
            return web.json_response({"code": 403, "reason": "Forbidden", "message": "no"}, status=403)
        if "watch" in request.query:
            return web.Response()
        shown = [scheduler()] if request.path.endswith("/namespaces/old/pods") else []
        return web.json_response({"metadata": {"resourceVersion": "9"}, "items": shown})


def backend(kubeconfig: Path, *further: str) -> KubernetesBackend:
    return KubernetesBackend(Settings(kubeconfig=kubeconfig, namespace="own", namespaces=list(further)), DEPLOYMENT)


async def test_a_namespace_of_the_settings_is_looked_through_without_any_record(
    tmp_path: Path, eventually: Eventually
) -> None:
    async with served(ApiServer().answer, tmp_path) as kubeconfig:
        opened = backend(kubeconfig, "old")
        await opened.open()
        await eventually(lambda: opened.table.runs(KEY))
        await opened.close()


async def test_a_cluster_is_located_once_its_namespace_could_be_read(tmp_path: Path, eventually: Eventually) -> None:
    server = ApiServer()
    server.allowed = False
    async with served(server.answer, tmp_path) as kubeconfig:
        opened = backend(kubeconfig)
        opened.locate("c1", FIXED)
        await opened.open()
        await eventually(lambda: "old" in server.asked)
        assert not opened.located("c1")
        assert opened.located("another"), "one of an earlier release, whose place is that of its profile"
        server.allowed = True
        await eventually(lambda: opened.located("c1"))
        assert opened.table.runs(KEY)
        opened.locate("c1", {})
        assert opened.located("c1")
        await opened.close()


async def test_a_cluster_is_located_also_while_the_backend_is_open(tmp_path: Path, eventually: Eventually) -> None:
    async with served(ApiServer().answer, tmp_path) as kubeconfig:
        opened = backend(kubeconfig)
        await opened.open()
        opened.use_profiles({"p": ProfileSettings.model_validate({"namespace": "new"})})
        opened.locate("c1", FIXED)
        await eventually(lambda: opened.located("c1") and opened.table.runs(KEY))
        assert opened.fixed_options("p")["worker"]["namespace"] == "new"
        await opened.close()


async def test_tokens_of_a_cluster_without_any_pod_are_deleted_with_it(tmp_path: Path) -> None:
    """A quota that is full, or a template that is refused: no scheduler's pod ever owns the Secret."""
    secrets: dict[str, Any] = {}

    async def answer(request: web.Request) -> web.Response:
        _, _, kind = request.path.partition("/namespaces/old/")
        if request.method == "POST" and kind == "secrets":
            made = await request.json()
            secrets[made["metadata"]["name"]] = made
            return web.json_response(made)
        if request.method == "POST":
            return web.json_response({"code": 403, "reason": "Forbidden", "message": "exceeded quota"}, status=403)
        if kind.startswith("secrets/"):
            found = secrets.pop(kind.partition("/")[2], None) if request.method == "DELETE" else None
            return web.json_response(found or {"code": 404, "reason": "NotFound"}, status=200 if found else 404)
        return web.Response() if "watch" in request.query else web.json_response({"metadata": {"resourceVersion": "9"}})

    async with served(answer, tmp_path) as kubeconfig:
        pods = PodDefaults.model_validate({"image": "dask:1"})
        settings = Settings(kubeconfig=kubeconfig, namespace="own", enrolment="secret", pods=pods)
        opened = KubernetesBackend(settings, DEPLOYMENT)
        await opened.open()
        opened.locate("c1", FIXED)
        with pytest.raises(BackendError, match="exceeded quota"):
            await opened.start([replace(spec("c1", SCHEDULER), settings={"namespace": "old"})])
        assert list(secrets) == [secret_name("c1")]
        await opened.forget("c1")
        assert not secrets
        await opened.close()
