"""The ends of logs of pods that others delete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.backends.kubernetes.pods import changed
from tests.backends.kubernetes.served import served
from tests.conftest import Eventually

from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.connecting import connect
from headrace_backend_kubernetes.last_words import LastWords
from headrace_backend_kubernetes.logs import Logs
from headrace_backend_kubernetes.pod_table import PodTable

DELETED: dict[str, Any] = {"deletionTimestamp": "2100-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}
RUNNING, LEAVING = changed("runs"), changed("runs", resourceVersion="9000000", **DELETED)


class Kubelet:
    """Sends the first line of a log to those who follow it, and the last one when the test says so."""

    def __init__(self) -> None:
        self.followed = False
        self.ends = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "follow" not in request.query:
            return web.json_response({"kind": "Status", "code": 404, "message": "pod not found"}, status=404)
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"2026-11-27T10:00:00Z first\n")
        self.followed = True
        await self.ends.wait()
        await answer.write(b"2026-11-27T10:00:01Z last\n")
        return answer


@pytest.fixture
def kubelet() -> Kubelet:
    return Kubelet()


@pytest.fixture
async def api(kubelet: Kubelet, tmp_path: Path) -> AsyncIterator[Api]:
    async with served(kubelet.handle, tmp_path) as kubeconfig:
        api = await connect(Settings(kubeconfig=kubeconfig, namespace="ns"))
        yield api
        await api.close()


@asynccontextmanager
async def running(words: LastWords) -> AsyncGenerator[None]:
    task = asyncio.create_task(words.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _read(api: Api, table: PodTable, words: LastWords) -> bytes:
    logs = Logs(api, table, words)
    pieces = [piece.lines async for piece in logs.read(LEAVING.cluster, None, tail_lines=10, positions={})]
    return b"".join(pieces)


async def test_a_pod_that_was_leaving_already_is_read(api: Api, kubelet: Kubelet, eventually: Eventually) -> None:
    table = PodTable(remembered=3)
    table.accept(LEAVING)
    words = LastWords(api, table)
    async with running(words):
        await eventually(lambda: kubelet.followed)
        kubelet.ends.set()

        async def is_kept() -> bool:
            return b"".join([line async for line in words.of(LEAVING, None)]).endswith(b"last\n")

        await eventually(is_kept)
        table.delete(LEAVING)
        assert await _read(api, table, words) == b"first\nlast\n"


async def test_what_comes_after_the_news_of_the_end_is_waited_for(
    api: Api, kubelet: Kubelet, eventually: Eventually
) -> None:
    table = PodTable(remembered=3)
    words = LastWords(api, table)
    async with running(words):
        table.accept(RUNNING)
        await asyncio.sleep(0)
        table.accept(LEAVING)
        await eventually(lambda: kubelet.followed)
        table.delete(LEAVING)
        reading = asyncio.create_task(_read(api, table, words))
        await asyncio.wait([reading], timeout=0.2)
        kubelet.ends.set()
        assert await reading == b"first\nlast\n"
