"""A small API server for pods: it keeps those that it is sent; tests change them, refuse requests, lose answers."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from tests.backends.kubernetes.served import served

from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.connecting import connect

Plain = dict[str, Any]


class SmallServer:
    """Pods by name, and which requests there were."""

    def __init__(self) -> None:
        self.pods: dict[str, Plain] = {}
        self.requests: list[tuple[str, str]] = []
        self.refuses: dict[str, str] = {}
        """What is said to requests of a method."""
        self.selected: list[tuple[str, str]] = []
        """Selectors of the collections that were deleted."""
        self.lost_answers = 0
        """Number of the next patches that are applied without an answer: their connection breaks."""
        self.late: list[asyncio.Event] = []
        """The next patches are applied at once, and answered when these are set."""
        self._versions = itertools.count(1)

    async def handle(self, request: web.Request) -> web.Response:
        name = request.match_info["path"].partition("/pods")[2].strip("/")
        self.requests.append((request.method, name))
        if why := self.refuses.get(request.method):
            return _status(403, "Forbidden", why)
        body = json.loads(await request.text() or "null")
        if request.method == "POST":
            return self._create(body)
        if not name:
            self.selected.append((request.query["labelSelector"], request.query.get("fieldSelector", "")))
            return web.json_response({})
        if name not in self.pods:
            return _status(404, "NotFound", f'pods "{name}" not found')
        if request.method == "DELETE":
            return web.json_response(self.pods.pop(name))
        if not body:
            return self._answer(name)
        answer = self._patch(name, body, request)
        if self.late:
            await self.late.pop(0).wait()
        return answer

    def _create(self, body: Plain) -> web.Response:
        name = body["metadata"]["name"]
        self.pods[name] = {**body, "status": {"phase": "Pending"}}
        self.pods[name]["metadata"]["uid"] = f"uid-of-{name}"
        return self._answer(name)

    def _patch(self, name: str, body: Any, request: web.Request) -> web.Response:
        if not _apply(self.pods[name], body):
            return _status(422, "Invalid", "the server rejected our request due to an error in our request")
        if self.lost_answers:
            self.lost_answers -= 1
            assert request.transport
            request.transport.abort()
        return self._answer(name)

    def _answer(self, name: str) -> web.Response:
        pod = self.pods[name]
        pod["metadata"]["resourceVersion"] = str(next(self._versions))
        return web.json_response(pod)


def _apply(pod: Plain, patch: list[Plain] | Plain) -> bool:
    """Applies a JSON patch, or merges labels and the spec; says whether its tests hold."""
    if isinstance(patch, dict):
        pod["metadata"]["labels"] |= patch["metadata"].get("labels", {})
        pod.setdefault("spec", {}).update(patch.get("spec", {}))
        return True
    for step in patch:
        *way, last = (part.replace("~1", "/").replace("~0", "~") for part in step["path"][1:].split("/"))
        at = pod
        for part in way:
            at = at[part]
        if step["op"] == "test" and at.get(last) != step["value"]:
            return False
        if step["op"] == "remove":
            del at[last]
        elif step["op"] in {"add", "replace"}:
            at[last] = step["value"]
    return True


def _status(code: int, reason: str, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "reason": reason, "message": message}, status=code)


@asynccontextmanager
async def small_server(directory: Path) -> AsyncGenerator[tuple[SmallServer, Api]]:
    server = SmallServer()
    async with served(server.handle, directory) as kubeconfig:
        api = await connect(Settings(kubeconfig=kubeconfig, namespace="ns"))
        try:
            yield server, api
        finally:
            await api.close()
