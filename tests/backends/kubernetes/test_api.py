"""How requests are made: what is tried again, what is not, and what is counted. The server answers as a test says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import REGISTRY
from tests.backends.kubernetes.pods import recorded
from tests.backends.kubernetes.served import kubeconfig, served

from headrace_backend_kubernetes import requests
from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.connecting import connect
from headrace_backend_kubernetes.faults import ApiError, Unreachable
from headrace_controller.backends.contact import ContactRecord

POD = recorded("runs")


class Server:
    """Answers requests one by one with what it was given, the last again and again."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        self.requests: list[tuple[str, str, Any]] = []
        self.hosts: list[str] = []

    def answers_with(self, *answers: tuple[int, Any] | tuple[int, Any, dict[str, str]]) -> None:
        self.answers = [(answer[0], answer[1], answer[2] if len(answer) == 3 else {}) for answer in answers]

    async def handle(self, request: web.Request) -> web.Response:
        text = await request.text()
        self.hosts.append(request.host)
        self.requests.append((request.method, request.path_qs, json.loads(text) if text else None))
        code, content, headers = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        body = content if isinstance(content, str) else json.dumps(content)
        return web.Response(status=code, text=body, headers=headers, content_type="application/json")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[Server, Path]]:
    server = Server()
    async with served(server.handle, tmp_path) as file:
        yield server, file


@pytest.fixture
def contact() -> ContactRecord:
    return ContactRecord()


@pytest.fixture
async def api(server: tuple[Server, Path]) -> AsyncIterator[Api]:
    api = await connect(Settings(kubeconfig=server[1], namespace="ns"))
    yield api
    await api.close()


def _status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {"kind": "Status", "code": code, "reason": reason, "message": message}


@pytest.mark.parametrize(
    "first",
    [
        (429, _status(429, "TooManyRequests", "later"), {"Retry-After": "0"}),
        (500, _status(500, "InternalError", "failed calling webhook")),
        (503, "<html>a proxy in between</html>"),
        (409, _status(409, "Conflict", 'Operation cannot be fulfilled on resourcequotas "q": modified')),
    ],
    ids=["too many", "webhook away", "proxy", "quota changed"],
)
async def test_what_may_succeed_soon_is_tried_again(server: tuple[Server, Path], api: Api, first: Any) -> None:
    server[0].answers_with(first, (201, POD))
    pod = await api.create_pod("ns", {"metadata": {"name": "p"}})
    assert pod.name == "runs"
    assert len(server[0].requests) == 2


async def test_nothing_is_tried_again_once_the_time_for_it_is_over(
    server: tuple[Server, Path], api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that passes may take as long as one that never comes, such as for a webhook that is away."""
    monkeypatch.setattr(requests, "_TRYING_SECONDS", 0.0)
    server[0].answers_with((500, _status(500, "InternalError", "failed calling webhook: context deadline exceeded")))
    with pytest.raises(ApiError, match="failed calling webhook"):
        await api.create_pod("ns", {"metadata": {"name": "p"}})
    assert len(server[0].requests) == 1


async def test_a_refusal_is_not_tried_again_and_keeps_its_sentence(server: tuple[Server, Path], api: Api) -> None:
    server[0].answers_with((403, _status(403, "Forbidden", "exceeded quota: small")))
    with pytest.raises(ApiError, match="exceeded quota: small") as raised:
        await api.create_pod("ns", {})
    assert (raised.value.code, raised.value.reason) == (403, "Forbidden")
    assert len(server[0].requests) == 1


async def test_unknown_fields_reach_the_api_server_which_refuses_them(server: tuple[Server, Path], api: Api) -> None:
    server[0].answers_with((201, POD))
    body = {"spec": {"fieldOfNextYear": {"a": [1, None]}}}
    await api.create_pod("ns", body, dry_run=True)
    [(method, path, sent)] = server[0].requests
    assert (method, sent) == ("POST", body)
    assert "fieldValidation=Strict" in path
    assert "dryRun=All" in path


async def test_a_pod_is_changed_and_deleted_only_if_it_is_the_very_one(server: tuple[Server, Path], api: Api) -> None:
    server[0].answers_with((201, POD))
    pod = await api.create_pod("ns", {})
    conflict = _status(409, "Conflict", "Precondition failed: UID in precondition: 1, UID in object meta: 2")
    server[0].answers_with((409, conflict))
    assert await api.patch_pod(pod, {"spec": {"activeDeadlineSeconds": 1}}) is None
    await api.delete_pod(pod, grace_seconds=0)
    _, patch, delete = server[0].requests
    assert patch[2] == {"spec": {"activeDeadlineSeconds": 1}, "metadata": {"uid": pod.uid}}
    assert delete[2] == {"preconditions": {"uid": pod.uid}, "gracePeriodSeconds": 0}


async def test_a_list_is_read_page_by_page(server: tuple[Server, Path], api: Api) -> None:
    odd = {"metadata": {"name": "odd", "uid": "u7", "creationTimestamp": "never"}}
    server[0].answers_with(
        (200, {"metadata": {"resourceVersion": "7", "continue": "next/page="}, "items": [POD]}),
        (200, {"metadata": {"resourceVersion": "7"}, "items": [odd, recorded("exit-3")]}),
    )
    pods, unread, version = await api.list_pods("ns", "a=b")
    assert ([pod.name for pod in pods], unread, version) == (["runs", "exit-3"], {"u7"}, "7")
    assert "continue=next/page%3D" in server[0].requests[1][1]


async def test_an_api_server_that_is_away_is_said_to_be(tmp_path: Path, contact: ContactRecord) -> None:
    api = await connect(Settings(kubeconfig=kubeconfig(tmp_path, 9), namespace="ns"), contact)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1"):
        await api.create_pod("ns", {})
    await api.close()
    assert contact.current.failure.startswith("the Kubernetes API server does not answer: ")


@pytest.mark.parametrize("code", [502, 503, 504])
async def test_what_only_stands_before_an_api_server_is_no_answer(
    server: tuple[Server, Path], contact: ContactRecord, code: int
) -> None:
    changes: list[str] = []
    contact.on_change(lambda: changes.append(contact.current.failure))
    api = await connect(Settings(kubeconfig=server[1], namespace="ns"), contact)
    server[0].answers_with((code, "<html>"), (500, _status(500, "InternalError", "a webhook is away")), (201, POD))
    await api.create_pod("ns", {})
    assert changes == [f"the Kubernetes API server does not answer: HTTP status {code}", ""]
    await api.close()


async def test_one_request_that_is_lost_while_others_are_answered_is_no_absence(
    tmp_path: Path, contact: ContactRecord
) -> None:
    changes: list[str] = []
    contact.on_change(lambda: changes.append(contact.current.failure))
    waits, answered = asyncio.Event(), asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        if request.method == "POST" and not waits.is_set():
            waits.set()
            await answered.wait()
            assert request.transport
            request.transport.abort()
        return web.json_response(POD)

    async with served(handle, tmp_path) as file:
        api = await connect(Settings(kubeconfig=file, namespace="ns"), contact)
        slow = asyncio.create_task(api.create_pod("ns", {}))
        await waits.wait()
        await api.get_pod("ns", "runs")
        answered.set()
        assert await slow
        await api.close()
    assert not changes


async def test_that_a_node_does_not_answer_says_nothing_of_the_api_server(
    server: tuple[Server, Path], contact: ContactRecord
) -> None:
    api = await connect(Settings(kubeconfig=server[1], namespace="ns"), contact)
    server[0].answers_with((200, POD), (504, "the kubelet is away"))
    pod = await api.get_pod("ns", "runs")
    assert pod
    with pytest.raises(ApiError):
        async with api.log(pod, follow=True, tail_lines=None, since_seconds=None):
            pass
    assert not contact.current.failure
    await api.close()


async def test_a_stream_that_cannot_be_opened_is_no_answer_either(tmp_path: Path, contact: ContactRecord) -> None:
    api = await connect(Settings(kubeconfig=kubeconfig(tmp_path, 9), namespace="ns"), contact)
    with pytest.raises(Unreachable):
        async with api.watch_pods("ns", "a=b", "1"):
            pass
    assert contact.current.failure
    await api.close()


async def test_the_kernel_finds_out_that_the_other_end_of_a_silent_stream_is_gone(tmp_path: Path) -> None:
    """Nothing may come for hours of a log that is followed: only the kernel can tell that from a lost API server."""
    opened: list[int] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/log"):
            return web.json_response(POD)
        assert request.transport
        opened.append(request.transport.get_extra_info("peername")[1])
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"2026-11-26T15:04:26.1Z a line\n")
        return response

    async with served(handle, tmp_path) as file:
        api = await connect(Settings(kubeconfig=file, namespace="ns"))
        pod = await api.get_pod("ns", "runs")
        assert pod
        async with api.log(pod, follow=True, tail_lines=None, since_seconds=None):
            with _connection_from(opened[0]) as connection:
                assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                idle, pause, number = (
                    connection.getsockopt(socket.IPPROTO_TCP, option)
                    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                )
                assert idle + pause * number <= 60
        await api.close()


def _connection_from(port: int) -> socket.socket:
    """A duplicate of this process's connection from a local port."""
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):  # no socket, or closed meanwhile
            each = socket.socket(fileno=os.dup(int(entry.name))) if _is_socket(entry) else None
            if each and each.family == socket.AF_INET and each.getsockname()[1] == port:
                return each
            if each:
                each.close()
    raise LookupError(port)


def _is_socket(descriptor: Path) -> bool:
    return str(descriptor.readlink()).startswith("socket:")


async def test_the_environments_proxy_is_looked_up_once(
    server: tuple[Server, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = "http://api.example.test:6443"
    file = tmp_path / "behind-a-proxy"
    file.write_text(re.sub(r"http://127\.0\.0\.1:(\d+)", cluster, server[1].read_text()))
    proxy = json.loads(server[1].read_text())["clusters"][0]["cluster"]["server"]
    server[0].answers_with((200, POD))
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("http_proxy", proxy)
    api = await connect(Settings(kubeconfig=file, namespace="ns"))
    monkeypatch.delenv("HTTP_PROXY")
    monkeypatch.delenv("http_proxy")
    assert await api.get_pod("ns", "runs")
    assert [host.partition(":")[0] for host in server[0].hosts] == ["api.example.test"]
    await api.close()


async def test_no_proxy_is_used_for_what_the_environment_excepts(
    server: tuple[Server, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server[0].answers_with((200, POD))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    api = await connect(Settings(kubeconfig=server[1], namespace="ns"))
    assert await api.get_pod("ns", "runs")
    await api.close()


async def test_a_kubeconfig_that_does_not_exist_is_said_to(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        await connect(Settings(kubeconfig=tmp_path / "none"))


async def test_requests_are_counted(server: tuple[Server, Path], api: Api) -> None:
    def counted(code: str) -> float:
        labels = {"verb": "delete", "resource": "pods", "code": code}
        return REGISTRY.get_sample_value("headrace_kubernetes_requests_total", labels) or 0

    server[0].answers_with((201, POD), (503, ""), (404, _status(404, "NotFound", "gone")))
    pod = await api.create_pod("ns", {})
    before = counted("503"), counted("404")
    await api.delete_pod(pod)
    assert (counted("503"), counted("404")) == (before[0] + 1, before[1] + 1)
