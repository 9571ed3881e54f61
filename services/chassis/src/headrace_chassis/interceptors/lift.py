"""Lifts interceptors, written as async context managers, over handlers of every kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError

from headrace.errors import InvalidRequest
from headrace_chassis.interceptors.call import Call, Context, Interceptor
from headrace_chassis.rights import right_of

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # one interceptor serves all messages
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"


class _Lifted(grpc.aio.ServerInterceptor):
    """All interceptors as one of gRPC's; handlers are wrapped once for each method."""

    def __init__(self, interceptors: tuple[Interceptor, ...]) -> None:
        self._interceptors = interceptors
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        method = handler_call_details.method
        if (wrapped := self._wrapped.get(method)) is not None:
            return wrapped
        if (handler := await continuation(handler_call_details)) is None:
            return None  # not implemented here; not remembered either, or strangers could fill the memory
        wrapped = self._wrapped[method] = _wrap(handler, _look_at(method, handler), self._interceptors)
        return wrapped


def lift(*interceptors: Interceptor) -> grpc.aio.ServerInterceptor:
    """Makes one gRPC interceptor of ours; the first is the outermost."""
    return _Lifted(interceptors)


def _look_at(method: str, handler: Handler) -> Call:
    service, _, name = method.rpartition("/")
    is_stream = handler.request_streaming or handler.response_streaming
    return Call(method, f"{service.rpartition('.')[2]}.{name}", is_stream, right_of(method))


def _wrap(handler: Handler, call: Call, interceptors: tuple[Interceptor, ...]) -> Handler:
    assert not (handler.request_streaming and not handler.response_streaming), "no RPC of headrace is stream-unary"
    if not handler.response_streaming:
        return grpc.unary_unary_rpc_method_handler(
            cast("Any", _unary(handler, call, interceptors)), None, handler.response_serializer
        )
    if not handler.request_streaming:
        return grpc.unary_stream_rpc_method_handler(
            cast("Any", _unary_stream(handler, call, interceptors)), None, handler.response_serializer
        )
    return grpc.stream_stream_rpc_method_handler(
        cast("Any", _stream_stream(handler, call, interceptors)),
        handler.request_deserializer,
        handler.response_serializer,
    )


def _unary(handler: Handler, call: Call, interceptors: tuple[Interceptor, ...]) -> object:
    behaviour = cast("Callable[[object, Context], Awaitable[object]]", handler.unary_unary)
    decode = _decoder(handler)

    async def serve(raw: bytes, context: Context) -> object:
        async with AsyncExitStack() as stack:
            for interceptor in interceptors:
                await stack.enter_async_context(interceptor(call, context))
            return await behaviour(decode(raw), context)
        raise AssertionError("no interceptor swallows errors")

    return serve


def _unary_stream(handler: Handler, call: Call, interceptors: tuple[Interceptor, ...]) -> object:
    behaviour = cast("Callable[[object, Context], object]", handler.unary_stream)
    decode = _decoder(handler)

    async def serve(raw: bytes, context: Context) -> None:
        async with AsyncExitStack() as stack:
            for interceptor in interceptors:
                await stack.enter_async_context(interceptor(call, context))
            await _write_all(behaviour(decode(raw), context), context)

    return serve


def _stream_stream(handler: Handler, call: Call, interceptors: tuple[Interceptor, ...]) -> object:
    behaviour = cast("Callable[[object, Context], object]", handler.stream_stream)

    async def serve(requests: object, context: Context) -> None:
        async with AsyncExitStack() as stack:
            for interceptor in interceptors:
                await stack.enter_async_context(interceptor(call, context))
            await _write_all(behaviour(requests, context), context)

    return serve


async def _write_all(answer: object, context: Context) -> None:
    """Writes what the servicer yields here, in the call's own task, where a drain can still turn into an answer."""
    if isinstance(answer, Awaitable):  # it writes to the context by itself
        await cast("Awaitable[None]", answer)
        return
    async with aclosing(cast("Any", answer)) as responses:
        async for response in cast("AsyncIterator[object]", responses):
            await context.write(response)


def _decoder(handler: Handler) -> Callable[[bytes], object]:
    """Decodes within the interceptors, so that garbage gets a typed error like everything else."""
    deserialize = cast("Callable[[bytes], object]", handler.request_deserializer)

    def decode(raw: bytes) -> object:
        try:
            return deserialize(raw)
        except DecodeError:
            raise InvalidRequest("the request is not a valid protobuf message of this method") from None

    return decode
