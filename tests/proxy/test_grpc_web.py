"""gRPC-Web through a real Envoy, at a path and at the root: as the client calls behind a hub's proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import dask.config
import grpc
import pytest
from tests.proxy.browser import TOKEN, Browser, asked
from tests.proxy.fake_authz import FakeAuthz
from tests.proxy.fake_dashboard import FakeDashboard
from tests.proxy.fake_services import FakeServices
from tests.proxy.running_proxy import RunningProxy
from tests.tracing.spans import receiver
from tornado.httpclient import HTTPClientError

from headrace import TokenAuth, errors
from headrace._target.target import Target
from headrace._wire.channel import open_channel
from headrace._wire.grpc_web import MAX_MESSAGE, GrpcWebChannel
from headrace._wire.status import from_rpc_error
from headrace_chassis.tls.certificates import Authority

Services = dict[str, FakeServices]
Eventually = Callable[..., Awaitable[None]]
BASE = "/services/headrace"
CLUSTERS, AUTH = "/headrace.v1.ClusterService/", "/headrace.v1.AuthService/"


@pytest.fixture
def settings(settings: dict[str, str]) -> dict[str, str]:
    return settings | {"base_path": BASE}


@pytest.fixture
def target(proxy: RunningProxy, authority: Authority, directory: Path) -> Target:
    ca_file = directory / "ca.pem"
    ca_file.write_bytes(authority.cert_pem)
    return Target.resolve(f"https://{proxy.public}{BASE}", auth=TokenAuth("x"), ca_file=str(ca_file))


@pytest.fixture
async def channel(target: Target) -> AsyncIterator[GrpcWebChannel]:
    """A client's channel to the base path."""
    channel = GrpcWebChannel(target)
    yield channel
    await channel.close()


async def test_calls_go_where_their_service_lives(channel: GrpcWebChannel, services: Services) -> None:
    for method in (AUTH, CLUSTERS, "/headrace.v1.OptionsService/"):
        assert await _unary(channel, f"{method}Echo", b"hello") == b"hello"
    assert services["auth"].calls == [AUTH + "Echo"]
    assert len(services["controller"].calls) == 2


async def test_streams_pass_as_they_come(channel: GrpcWebChannel, services: Services) -> None:
    assert [int(n) async for n in _stream(channel, CLUSTERS + "Count", b"500")] == list(range(500))


async def test_errors_arrive_as_the_class_that_was_raised(channel: GrpcWebChannel, services: Services) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _unary(channel, CLUSTERS + "Fail", b"")
    error = from_rpc_error(caught.value)
    assert type(error) is errors.QuotaExceeded
    assert error.details["limit"] == "3"


async def test_a_service_that_is_away_is_named_and_one_that_is_back_is_used(
    channel: GrpcWebChannel, services: Services, eventually: Eventually
) -> None:
    await services["controller"].stop()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _unary(channel, CLUSTERS + "Echo", b"")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "headrace's controller service does not answer" in (caught.value.details() or "")
    await services["controller"].start()

    async def answers() -> bool:
        try:
            return await _unary(channel, CLUSTERS + "Echo", b"2") == b"2"
        except grpc.aio.AioRpcError:
            return False

    await eventually(answers)


async def test_large_messages_pass_up_to_the_limit(channel: GrpcWebChannel, services: Services) -> None:
    large = bytes(MAX_MESSAGE)
    assert await _unary(channel, CLUSTERS + "Echo", large) == large
    with pytest.raises(grpc.aio.AioRpcError, match="larger than 64 MiB"):
        await _unary(channel, CLUSTERS + "Echo", large + b"1")


async def test_a_stream_that_nobody_reads_any_more_ends_at_the_service(
    channel: GrpcWebChannel, services: Services, eventually: Eventually
) -> None:
    stream = _stream(channel, CLUSTERS + "Forever", b"")
    assert await anext(stream) == b"1"
    await eventually(lambda: services["controller"].begun)
    stream.cancel()
    await eventually(lambda: services["controller"].cancelled == 1)


async def test_a_cancelled_task_ends_its_call(
    channel: GrpcWebChannel, services: Services, eventually: Eventually
) -> None:
    task = asyncio.create_task(_unary(channel, CLUSTERS + "Wait", b""))
    await eventually(lambda: services["controller"].begun)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: services["controller"].cancelled == 1)


async def test_a_deadline_ends_the_call_on_both_sides(
    channel: GrpcWebChannel, services: Services, eventually: Eventually
) -> None:
    while not services["controller"].begun:  # on a busy machine the deadline may come before the call does
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _unary(channel, CLUSTERS + "Wait", b"", timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: services["controller"].cancelled == services["controller"].begun)


async def test_a_cut_stream_is_an_error_that_is_repeated(
    channel: GrpcWebChannel, services: Services, proxy: RunningProxy
) -> None:
    stream = _stream(channel, CLUSTERS + "Forever", b"")
    assert await anext(stream) == b"1"
    await proxy.envoy.kill()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(stream)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("method", "types", "answer"),
    [
        ("PUT", ["application/grpc"], b"grpc-status: 12"),
        ("POST", ["application/grpc-web+proto", "application/grpc"], b"HTTP/1.1 404"),
    ],
)
async def test_what_is_no_call_reaches_no_service(
    proxy: RunningProxy, services: Services, authority: Authority, method: str, types: list[str], answer: bytes
) -> None:
    context = ssl.create_default_context(cadata=authority.cert_pem.decode())
    host, _, port = proxy.public.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    lines = [f"{method} {AUTH}Echo HTTP/1.1", f"host: {host}", *(f"content-type: {kind}" for kind in types)]
    writer.write("".join(f"{line}\r\n" for line in [*lines, "content-length: 0", ""]).encode())
    assert answer in await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()


@pytest.mark.parametrize("method", ["/headrace.internal.v1.RouteService/WatchRoutes", "/headrace.v1.Nothing/Echo"])
async def test_what_is_not_public_is_not_reachable(channel: GrpcWebChannel, services: Services, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="This is a headrace gateway") as caught:
        await _unary(channel, method, b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert not services["controller"].calls


async def test_a_dashboard_below_the_base_path(
    proxy: RunningProxy, browser: Browser, dashboard: FakeDashboard, authz: FakeAuthz
) -> None:
    assert asked(await browser.get(f"{BASE}/clusters/ca1/status?a=1")).uri == "/status?a=1"
    assert asked(await browser.get("/clusters/ca1/status")).uri == "/status"
    assert (await browser.get(f"{BASE}/clusters/ca1/status", headers={})).code == 403
    root = await browser.get(f"{BASE}/clusters/ca1")
    assert root.headers["location"] == f"{BASE}/clusters/ca1/"


async def test_the_websocket_of_a_dashboard_below_the_base_path(
    proxy: RunningProxy, browser: Browser, dashboard: FakeDashboard
) -> None:
    socket = await browser.open_socket(f"{BASE}/clusters/ca1/ws")
    await socket.write_message("hello")
    assert await socket.read_message() == "hello"
    socket.close()
    for path, headers in ((f"{BASE}/clusters/ca1/ws", {}), (f"{BASE}{CLUSTERS}Echo", TOKEN)):
        with pytest.raises(HTTPClientError) as refused:
            await browser.open_socket(path, headers)
        assert refused.value.code == 403


@pytest.mark.parametrize("path", [f"{BASE}2/clusters/ca1/status", f"{BASE}clusters/ca1/status", "/services/x"])
async def test_other_paths_are_not_below_it(
    proxy: RunningProxy, browser: Browser, dashboard: FakeDashboard, path: str
) -> None:
    assert (await browser.get(path, TOKEN)).code == 404


async def test_calls_have_spans_where_the_client_traces(
    target: Target, services: Services, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    sent = list[str]()
    with receiver() as received:
        with dask.config.set({"headrace.tracing.endpoint": received.endpoint}):
            channel = cast("GrpcWebChannel", open_channel(target))
        await _unary(channel, CLUSTERS + "Echo", b"")
        sent.append(services["controller"].metadata["traceparent"])
        with pytest.raises(grpc.aio.AioRpcError):
            await _unary(channel, CLUSTERS + "Fail", b"")
        sent.append(services["controller"].metadata["traceparent"])
        assert [int(n) async for n in _stream(channel, CLUSTERS + "Count", b"3")] == [0, 1, 2]
        sent.append(services["controller"].metadata["traceparent"])
        await eventually(lambda: len(received.spans) == 3)
    await channel.close()
    assert [(span.name, span.code, span.failed) for span in received.spans] == [
        ("headrace.v1.ClusterService/Echo", "OK", False),
        ("headrace.v1.ClusterService/Fail", "RESOURCE_EXHAUSTED", True),
        ("headrace.v1.ClusterService/Count", "OK", False),
    ]
    assert {(span.service, span.kind) for span in received.spans} == {("headrace-client", "Client")}
    assert [[span.trace, span.id] for span in received.spans] == [one.split("-")[1:3] for one in sent]


async def test_without_an_endpoint_nothing_is_traced(target: Target, services: Services) -> None:
    channel = cast("GrpcWebChannel", open_channel(target))
    await _unary(channel, CLUSTERS + "Echo", b"")
    await channel.close()
    assert "traceparent" not in services["controller"].metadata


async def _unary(channel: GrpcWebChannel, method: str, request: bytes, timeout: float = 60) -> bytes:
    return await channel.unary_unary(method, bytes, bytes)(request, timeout=timeout, metadata=())


def _stream(channel: GrpcWebChannel, method: str, request: bytes) -> Any:
    return channel.unary_stream(method, bytes, bytes)(request, metadata=())
