"""Logins of pods at the service, while the API server is away, and once it is back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest
import yaml
from tests.auth.running import RunningAuth, failure, running_auth

from headrace import errors
from headrace.v1 import auth_service_pb2 as pb
from headrace_auth.authenticators import kubernetes
from headrace_auth.config import AuthSettings

POD = {"authentication.kubernetes.io/pod-name": ["notebook"], "authentication.kubernetes.io/pod-uid": ["uid"]}


def token(pod: str = "notebook") -> str:
    claims = {
        "sub": "system:serviceaccount:team:default",
        "exp": int(time.time()) + 600,
        "kubernetes.io": {"pod": {"name": pod}},
    }
    return jwt.encode(claims, "a key of nobody, which is long enough", "HS256")


class FakeApiServer:
    """Accepts connections, and answers every review with one pod unless it is silent."""

    def __init__(self) -> None:
        self.silent = asyncio.Event()
        self.asked = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[16:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length: "))
        await reader.readexactly(length)
        self.asked += 1
        if self.silent.is_set():
            await reader.read()  # until the caller gives up
            writer.close()
            return
        user = {"username": "system:serviceaccount:team:default", "extra": POD}
        content = json.dumps({"spec": {"token": ""}, "status": {"authenticated": True, "user": user}}).encode()
        writer.write(
            b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(content), content)
        )
        await writer.drain()
        writer.close()


@pytest.fixture
async def api() -> AsyncIterator[FakeApiServer]:
    api = FakeApiServer()
    yield api
    await api.stop()


@pytest.fixture
async def auth(settings: AuthSettings, api: FakeApiServer, tmp_path: Path) -> AsyncIterator[RunningAuth]:
    port = await api.start()
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "x"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    pods = kubernetes.Settings(
        kind="kubernetes", namespaces=("*",), prefix="pod:", kubeconfig=tmp_path / "kubeconfig", cache_seconds=0
    )
    authenticators = {**settings.authenticators, "kubernetes": pods}
    async with running_auth(settings.model_copy(update={"authenticators": authenticators})) as running:
        yield running


async def test_a_pod_logs_in(auth: RunningAuth) -> None:
    user = (await auth.login_with(token())).user
    assert user == pb.User(
        name="users/pod:team:default", groups=["groups/pod:team"], roles=[pb.ROLE_USER], method="kubernetes"
    )


async def test_while_the_api_server_is_silent_others_log_in_and_pods_hear_why(
    auth: RunningAuth, api: FakeApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace_auth.authenticators.kubernetes_api._TIMEOUT_SECONDS", 6.0)
    api.silent.set()
    waiting = [asyncio.ensure_future(failure(auth.login_with(token(f"pod-{n}")))) for n in range(60)]
    while api.asked < 16:  # noqa: ASYNC110 another task's count
        await asyncio.sleep(0.01)
    await auth.login("ann", "ann's")
    assert not any(one.done() for one in waiting)
    for error in await asyncio.gather(*waiting):
        assert isinstance(error, errors.StoreUnavailable)
        assert "the Kubernetes API server does not answer" in str(error)
    assert api.asked < 60, "those that waited for their turn do not wait for a silent server too"


async def test_pods_log_in_once_the_api_server_is_back(auth: RunningAuth, api: FakeApiServer) -> None:
    api.silent.set()
    assert isinstance(await failure(auth.login_with(token())), errors.StoreUnavailable)
    api.silent.clear()

    async def logged_in() -> bool:
        try:
            await auth.login_with(token())
        except Exception:  # noqa: BLE001 what it raises is not the point
            return False
        return True

    async with asyncio.timeout(30):
        while not await logged_in():  # noqa: ASYNC110 the service pauses
            await asyncio.sleep(0.05)
