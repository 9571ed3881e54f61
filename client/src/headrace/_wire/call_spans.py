"""Spans of the calls of a client, if it traces. Calls below a path of an address (gRPC-Web) have none."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import grpc.aio

from headrace._target import config
from headrace.tracing import KEY, Tracing, traceparent

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_Details: TypeAlias = grpc.aio.ClientCallDetails
_Continue: TypeAlias = Callable[[_Details, Any], Awaitable[Any]]


def client_interceptors() -> Sequence[grpc.aio.ClientInterceptor]:
    """Return what makes spans of a client's calls; nothing unless ``headrace.tracing.endpoint`` is set."""
    if not (endpoint := config.get_text("tracing.endpoint")):
        return ()
    return interceptors(_tracing(endpoint))


def interceptors(tracing: Tracing) -> Sequence[grpc.aio.ClientInterceptor]:
    """Return what makes spans of the calls of a channel."""
    return (UnarySpans(tracing), StreamSpans(tracing), TwoWaySpans(tracing))


@functools.cache
def _tracing(endpoint: str) -> Tracing:
    return Tracing(endpoint, "headrace-client")  # one for the process: it has a thread


class UnarySpans(grpc.aio.UnaryUnaryClientInterceptor):
    """Makes a span of each call with one answer."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    async def intercept_unary_unary(self, continuation: _Continue, client_call_details: _Details, request: Any) -> Any:
        span, details = _start(self._tracing, client_call_details)
        with self._tracing.within(span):
            call = await continuation(details, request)
            _end(self._tracing, span, await call.code())
            return call


class StreamSpans(grpc.aio.UnaryStreamClientInterceptor):
    """Makes a span of each call with a stream of answers, as long as the stream."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    async def intercept_unary_stream(self, continuation: _Continue, client_call_details: _Details, request: Any) -> Any:
        span, details = _start(self._tracing, client_call_details)
        call = await continuation(details, request)
        call.add_done_callback(functools.partial(_end_with, span))
        return call


class TwoWaySpans(grpc.aio.StreamStreamClientInterceptor):
    """Makes a span of each call with streams in both directions, as long as they last."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    async def intercept_stream_stream(
        self, continuation: _Continue, client_call_details: _Details, request_iterator: Any
    ) -> Any:
        span, details = _start(self._tracing, client_call_details)
        call = await continuation(details, request_iterator)
        call.add_done_callback(functools.partial(_end_with, span))
        return call


def _start(tracing: Tracing, details: _Details) -> tuple[Span, _Details]:
    # It is bytes, whatever gRPC's types say.
    path = cast("str | bytes", details.method)
    method = (path.decode() if isinstance(path, bytes) else path).removeprefix("/")
    span = tracing.start(method, "CLIENT", attributes={"rpc.system": "grpc", "rpc.method": method})
    metadata = grpc.aio.Metadata(*(details.metadata or ()), (KEY, traceparent(span)))
    return span, cast("Any", details)._replace(metadata=metadata)


def _end_with(span: Span, _call: object) -> None:
    span.end()


def _end(tracing: Tracing, span: Span, code: grpc.StatusCode) -> None:
    span.set_attribute("rpc.response.status_code", code.name)
    if code is not grpc.StatusCode.OK:
        tracing.fail(span, code.name)
