"""Wraps handlers of every kind into interceptors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError

from headrace.errors import InvalidRequest
from headrace.v1 import request_bytes_pb2
from headrace_chassis.identity.rights import right_of
from headrace_chassis.interceptors.call import Call, Context, Interceptor, Method, Serve

MAX_REQUEST_BYTES = 256 << 10
"""Size of a request that is one message, unless the contract allows its method more; gRPC's own bound is that of a
message of a stream."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # one interceptor serves all messages
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"


class _Lifted(grpc.aio.ServerInterceptor):
    """All interceptors as one of gRPC's. Each method's handler is wrapped once."""

    def __init__(self, interceptors: tuple[Interceptor, ...]) -> None:
        self._interceptors = interceptors
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        path = handler_call_details.method
        if (wrapped := self._wrapped.get(path)) is not None:
            return wrapped
        if (handler := await continuation(handler_call_details)) is None:
            return None  # not implemented; not cached, or anybody could fill the memory
        wrapped = self._wrapped[path] = _wrap(handler, _describe(path, handler), self._interceptors)
        return wrapped


def lift(*interceptors: Interceptor) -> grpc.aio.ServerInterceptor:
    """Return one gRPC interceptor made of ours; the first is the outermost."""
    return _Lifted(interceptors)


def _describe(path: str, handler: Handler) -> Method:
    service, _, name = path.rpartition("/")
    is_stream = handler.request_streaming or handler.response_streaming
    return Method(path, f"{service.rpartition('.')[2]}.{name}", is_stream, right_of(path))


def _most_bytes(path: str) -> int:
    """Return the size that a request of a method may have."""
    try:
        method = descriptor_pool.Default().FindMethodByName(path.removeprefix("/").replace("/", "."))
    except KeyError:  # a contract of others
        return MAX_REQUEST_BYTES
    return method.GetOptions().Extensions[request_bytes_pb2.request_bytes] or MAX_REQUEST_BYTES


def _wrap(handler: Handler, method: Method, interceptors: tuple[Interceptor, ...]) -> Handler:
    assert not (handler.request_streaming and not handler.response_streaming), "no RPC of headrace is stream-unary"
    serve = _server_of(handler, _most_bytes(method.path))
    for interceptor in reversed(interceptors):
        serve = interceptor(method, serve)

    async def entry(request: object, context: Context) -> Any:
        return await serve(Call(request, context, dict(context.invocation_metadata() or ())))

    behaviour, serialize = cast("Any", entry), _serializer(handler)
    if not handler.response_streaming:
        return grpc.unary_unary_rpc_method_handler(behaviour, None, serialize)
    if not handler.request_streaming:
        return grpc.unary_stream_rpc_method_handler(behaviour, None, serialize)
    return grpc.stream_stream_rpc_method_handler(behaviour, handler.request_deserializer, serialize)


def _serializer(handler: Handler) -> Callable[[object], bytes]:
    """Return a serializer that leaves bytes as they are: an answer may be serialised already (ADR 7)."""
    serialize = cast("Callable[[object], bytes]", handler.response_serializer)
    return lambda answer: answer if isinstance(answer, bytes) else serialize(answer)


def _server_of(handler: Handler, most_bytes: int) -> Serve:
    """Return the innermost function that serves a method: the servicer's own."""
    if not handler.response_streaming:
        unary = cast("Callable[[object, Context], Awaitable[object]]", handler.unary_unary)
        return lambda call: unary(_decoded(handler, call.request, most_bytes), call.context)
    if not handler.request_streaming:
        stream = cast("Callable[[object, Context], object]", handler.unary_stream)
        return lambda call: _write_all(stream(_decoded(handler, call.request, most_bytes), call.context), call.context)
    both = cast("Callable[[object, Context], object]", handler.stream_stream)
    return lambda call: _write_all(both(call.request, call.context), call.context)


async def _write_all(answer: object, context: Context) -> None:
    """Write what the servicer yields in the call's own task, where a drain can still become an answer."""
    if isinstance(answer, Awaitable):  # it writes to the context itself
        await cast("Awaitable[None]", answer)
        return
    async with aclosing(cast("Any", answer)) as responses:
        async for response in cast("AsyncIterator[object]", responses):
            await _write(response, context)


async def _write(response: object, context: Context) -> None:
    """Write to the end, also if the call is cancelled meanwhile: gRPC takes no status as long as it writes."""
    writing = asyncio.ensure_future(context.write(response))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        writing.add_done_callback(lambda written: written.cancelled() or written.exception())  # nobody else asks
        await asyncio.wait((writing,))
        raise


def _decoded(handler: Handler, raw: bytes, most_bytes: int) -> object:
    """Decode within the interceptors, so that garbage is answered with a typed error."""
    if len(raw) > most_bytes:
        raise InvalidRequest(f"a request may have at most {most_bytes} bytes, this one has {len(raw)}")
    try:
        return cast("Callable[[bytes], object]", handler.request_deserializer)(raw)
    except DecodeError:
        raise InvalidRequest("the request is not a valid protobuf message of this method") from None
