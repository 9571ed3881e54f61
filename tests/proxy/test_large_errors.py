"""One caller's refusal, however much is wrong, and the streams of others on the connection behind Envoy."""

from __future__ import annotations

from typing import NoReturn

import grpc
import pytest
from tests.proxy.fake_services import Context, FakeServices
from tests.proxy.running_proxy import RunningProxy
from typing_extensions import override

from headrace import errors
from headrace._wire.status import from_rpc_error, to_status

CLUSTERS = "/headrace.v1.ClusterService/"
LARGE = errors.InvalidRequest.of(*[errors.Violation("ü" * 100, "is wrong, " * 100)] * 4000)
LARGE.details = {f"fact {n}": "ß" * 1000 for n in range(100)}


class Refusing(FakeServices):
    """Refuses with a large error."""

    @override
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        if handler_call_details.method.endswith("/Refuse"):
            return grpc.unary_unary_rpc_method_handler(_refuse)
        return super().service(handler_call_details)


async def _refuse(_: bytes, context: Context) -> NoReturn:
    status = to_status(LARGE)
    await context.abort(status.code, status.details, status.trailing_metadata)


async def test_a_large_error_arrives_and_leaves_the_streams_of_others_alone(
    proxy: RunningProxy, channel: grpc.aio.Channel, settings: dict[str, str]
) -> None:
    service = Refusing(settings["controller_target"])
    await service.start()
    try:
        watch = channel.stream_stream(CLUSTERS + "EchoStream")()
        for n in range(20):
            await watch.write(b"%d" % n)
            assert await watch.read() == b"%d" % n
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(CLUSTERS + "Refuse")(b"", timeout=60)
            error = from_rpc_error(caught.value)
            assert isinstance(error, errors.InvalidRequest)
            assert error.violations
        watch.cancel()
    finally:
        await service.stop()


async def test_headers_of_a_service_beyond_its_bound_leave_the_connection_as_well(
    proxy: RunningProxy, channel: grpc.aio.Channel, settings: dict[str, str]
) -> None:
    service = Shouting(settings["controller_target"])
    await service.start()
    try:
        watch = channel.stream_stream(CLUSTERS + "EchoStream")()
        for n in range(5):
            await watch.write(b"%d" % n)
            assert await watch.read() == b"%d" % n
            # The client refuses them, this call alone.
            with pytest.raises(grpc.aio.AioRpcError, match="metadata size exceeds"):
                await channel.unary_unary(CLUSTERS + "Shout")(b"", timeout=60)
        watch.cancel()
    finally:
        await service.stop()


class Shouting(FakeServices):
    """Answers with 200 KiB of headers."""

    @override
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        if handler_call_details.method.endswith("/Shout"):
            return grpc.unary_unary_rpc_method_handler(_shout)
        return super().service(handler_call_details)


async def _shout(_: bytes, context: Context) -> bytes:
    context.set_trailing_metadata([(f"fact-{n}", "x" * 20_000) for n in range(10)])
    return b"done"
