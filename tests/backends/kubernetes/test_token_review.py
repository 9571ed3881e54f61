"""An API server that does not review tokens: agents hear it in time to try again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from tests.backends.kubernetes.served import kubeconfig, served

from headrace.v1.enums import WaitReason
from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.connecting import connect
from headrace_backend_kubernetes.token_review import token_reviews
from headrace_controller.backends.base import BackendError


async def refused(file: Path) -> BackendError:
    api = await connect(Settings(kubeconfig=file, namespace="ns"))
    try:
        with pytest.raises(BackendError, match="the Kubernetes API server does not answer: ") as raised:
            await token_reviews(api, "headrace/test", within=0.2)("h.t.s")
    finally:
        await api.close()
    return raised.value


async def test_one_that_does_not_answer(tmp_path: Path) -> None:
    over = asyncio.Event()

    async def never(_request: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    async with served(never, tmp_path) as file:
        error = await refused(file)
        over.set()
    assert "no review within 0.2 s" in str(error)
    assert error.wait is WaitReason.PLATFORM_AWAY


async def test_one_that_cannot_be_reached(tmp_path: Path) -> None:
    assert (await refused(kubeconfig(tmp_path, 9))).wait is WaitReason.PLATFORM_AWAY
