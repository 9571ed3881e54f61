"""gRPC through a real Envoy: all kinds of calls, errors with their details, what is not reachable, services away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest
from tests.proxy.browser import Browser
from tests.proxy.fake_services import FakeServices
from tests.proxy.running_proxy import RunningProxy

from headrace import errors
from headrace._wire.status import from_rpc_error
from headrace_chassis.tls.certificates import Authority

Services = dict[str, FakeServices]
Eventually = Callable[..., Awaitable[None]]
CLUSTERS, AUTH = "/headrace.v1.ClusterService/", "/headrace.v1.AuthService/"


async def test_each_service_goes_where_it_lives(channel: grpc.aio.Channel, services: Services) -> None:
    public = ["headrace.v1.ClusterService", "headrace.v1.OptionsService", "headrace.internal.v1.AgentService"]
    general = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
    for service in ["headrace.v1.AuthService", *public, *general]:
        assert await _unary(channel, f"/{service}/Echo", b"hello") == b"hello"
    assert services["auth"].calls == [AUTH + "Echo"]
    assert services["controller"].calls == [f"/{service}/Echo" for service in (*public, *general)]


async def test_streams_pass_in_both_directions_as_they_come(channel: grpc.aio.Channel, services: Services) -> None:
    counting = channel.unary_stream(CLUSTERS + "Count")(b"500")
    assert [int(n) async for n in _answers(counting)] == list(range(500))
    echo = channel.stream_stream(CLUSTERS + "EchoStream")()
    for number in range(20):
        await echo.write(str(number).encode())
        assert await echo.read() == str(number).encode()
    await echo.done_writing()
    assert await echo.read() is grpc.aio.EOF


async def test_errors_arrive_as_the_class_that_was_raised(channel: grpc.aio.Channel, services: Services) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _unary(channel, CLUSTERS + "Fail", b"")
    error = from_rpc_error(caught.value)
    assert type(error) is errors.QuotaExceeded
    assert error.details["limit"] == "3"


async def test_nobody_outside_sets_internal_headers(channel: grpc.aio.Channel, services: Services) -> None:
    spoofed = [("x-envoy-retry-on", "5xx"), ("x-headrace-user", "admin"), ("x-mine", "1")]
    await channel.unary_unary(CLUSTERS + "Echo")(b"", metadata=spoofed)
    seen = services["controller"].metadata
    assert seen["x-mine"] == "1"
    assert not [name for name in seen if name.startswith(("x-envoy-retry", "x-headrace-", "x-envoy-original"))]


@pytest.mark.parametrize("method", ["/headrace.internal.v1.RouteService/WatchRoutes", "/headrace.v1.Nothing/Echo"])
async def test_what_is_not_public_is_not_reachable(channel: grpc.aio.Channel, services: Services, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _unary(channel, method, b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "This is a headrace gateway" in (caught.value.details() or "")
    assert not services["controller"].calls


async def test_a_service_that_is_away_is_named_and_the_call_may_be_repeated(
    channel: grpc.aio.Channel, services: Services
) -> None:
    for service in services.values():
        await service.stop()
    for method, name in ((CLUSTERS, "controller"), (AUTH, "auth")):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _unary(channel, method + "Echo", b"")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert f"headrace's {name} service does not answer" in (caught.value.details() or "")


async def test_a_service_that_is_back_is_used(
    channel: grpc.aio.Channel, services: Services, eventually: Eventually
) -> None:
    await _unary(channel, CLUSTERS + "Echo", b"1")
    await services["controller"].stop()
    await services["controller"].start()

    async def answers() -> bool:
        try:
            return await _unary(channel, CLUSTERS + "Echo", b"2") == b"2"
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False

    await eventually(answers)


async def test_large_messages_are_passed_on_as_they_come(
    channel: grpc.aio.Channel, services: Services, proxy: RunningProxy
) -> None:
    before = proxy.envoy.memory("VmHWM")
    large = bytes(100 << 20)
    assert len(await _unary(channel, CLUSTERS + "Echo", large)) == len(large)
    assert proxy.envoy.memory("VmHWM") - before < 40 << 20


async def test_a_client_that_does_not_read_holds_up_nobody(channel: grpc.aio.Channel, services: Services) -> None:
    stalled = channel.unary_stream(CLUSTERS + "Count")(b"1000000")
    await anext(_answers(stalled))
    async with asyncio.timeout(60):
        assert await _unary(channel, CLUSTERS + "Echo", b"quick") == b"quick"
    stalled.cancel()


async def test_grpc_paths_without_grpc_are_not_found(browser: Browser, services: Services) -> None:
    assert (await browser.get(CLUSTERS + "Echo")).code == 404
    assert not services["controller"].calls


async def _unary(channel: grpc.aio.Channel, method: str, request: bytes) -> bytes:
    return await channel.unary_unary(method)(request, timeout=60)


def _answers(call: grpc.aio.UnaryStreamCall[bytes, bytes]) -> AsyncIterator[bytes]:
    return aiter(call)


@pytest.mark.parametrize("kib", [20, 50, 59, 61, 64])
async def test_headers_that_are_too_long_end_one_call_only(
    channel: grpc.aio.Channel, services: Services, kib: int
) -> None:
    watch = channel.stream_stream(CLUSTERS + "EchoStream")()
    await watch.write(b"1")
    assert await watch.read() == b"1"
    with pytest.raises(grpc.aio.AioRpcError):
        await channel.unary_unary(CLUSTERS + "Echo")(b"", metadata=[("authorization", "x" * (kib << 10))], timeout=60)
    await watch.write(b"2")
    assert await watch.read() == b"2"
    watch.cancel()


async def test_longer_ones_end_the_connection_of_who_sent_them(
    channel: grpc.aio.Channel, services: Services, proxy: RunningProxy, authority: Authority
) -> None:
    watch = channel.stream_stream(CLUSTERS + "EchoStream")()
    await watch.write(b"1")
    assert await watch.read() == b"1"
    options = [("grpc.use_local_subchannel_pool", 1)]
    credentials = grpc.ssl_channel_credentials(authority.cert_pem)
    async with grpc.aio.secure_channel(proxy.public, credentials, options=options) as other:
        for _ in range(5):
            with pytest.raises(grpc.aio.AioRpcError):
                await other.unary_unary(CLUSTERS + "Echo")(b"", metadata=[("x", "x" * (200 << 10))], timeout=60)
        assert await other.unary_unary(CLUSTERS + "Echo")(b"3", timeout=60, wait_for_ready=True) == b"3"
    await watch.write(b"2")
    assert await watch.read() == b"2"
    watch.cancel()
