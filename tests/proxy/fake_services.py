"""auth and the controller as Envoy knows them: gRPC servers that answer any method, by its name.

No wire of ours: `tests/e2e` has the real services behind Envoy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc

from headrace import errors
from headrace._wire.status import to_status

Context = grpc.aio.ServicerContext[bytes, bytes]


@dataclass(eq=False)
class FakeServices(grpc.GenericRpcHandler):
    """`Echo` methods answer what they get, `Fail` methods one of our errors, `Wait` methods never.

    Every method called is remembered.
    """

    address: str
    calls: list[str] = field(default_factory=list[str])
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    begun: int = 0
    cancelled: int = 0
    """How many calls of `Wait` and `Forever` have begun to wait, and have ended: one that is reset at once does not."""
    _server: grpc.aio.Server | None = None

    async def start(self, credentials: grpc.ServerCredentials | None = None) -> None:
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers([self])
        if credentials is None:
            self._server.add_insecure_port(self.address)
        else:
            self._server.add_secure_port(self.address, credentials)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        method = handler_call_details.method
        self.calls.append(method)
        self.metadata = {key: str(value) for key, value in handler_call_details.invocation_metadata or ()}
        match method.rpartition("/")[2]:
            case "Echo":
                return grpc.unary_unary_rpc_method_handler(_echo)
            case "EchoStream":
                return grpc.stream_stream_rpc_method_handler(_echo_stream)
            case "Count":
                return grpc.unary_stream_rpc_method_handler(_count)
            case "Wait":
                return grpc.unary_unary_rpc_method_handler(self._wait)
            case "Forever":
                return grpc.unary_stream_rpc_method_handler(self._forever)
            case _:
                return grpc.unary_unary_rpc_method_handler(_fail)

    async def _wait(self, request: bytes, _: Context) -> bytes:
        self.begun += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1
        return request

    async def _forever(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        yield b"1"
        yield await self._wait(request, context)


async def _echo(request: bytes, _: Context) -> bytes:
    return request


async def _echo_stream(requests: AsyncIterator[bytes], _: Context) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def _count(request: bytes, _: Context) -> AsyncIterator[bytes]:
    for number in range(int(request)):
        await asyncio.sleep(0)
        yield str(number).encode()


async def _fail(_: bytes, context: Context) -> bytes:
    status = to_status(errors.QuotaExceeded.of(subject="users/ann", what="clusters", limit=3, used=3, asked=1))
    context.set_trailing_metadata(status.trailing_metadata)
    await context.abort(status.code, status.details, status.trailing_metadata)
