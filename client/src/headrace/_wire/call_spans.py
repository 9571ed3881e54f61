"""Spans of the calls of a client, if it traces."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import grpc.aio

from headrace._target import config
from headrace.tracing import KEY, Tracing, traceparent

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_Details: TypeAlias = grpc.aio.ClientCallDetails
_Continue: TypeAlias = Callable[[_Details, Any], Awaitable[Any]]


def client_tracing() -> Tracing | None:
    """Return what makes spans of a client's calls; None unless ``headrace.tracing.endpoint`` is set."""
    endpoint = config.get_text("tracing.endpoint")
    return _tracing(endpoint) if endpoint else None


def interceptors(tracing: Tracing) -> Sequence[grpc.aio.ClientInterceptor]:
    """Return what makes spans of the calls of a channel."""
    return (UnarySpans(tracing), StreamSpans(tracing), TwoWaySpans(tracing))


@contextmanager
def web_span(tracing: Tracing | None, method: str) -> Generator[dict[str, str]]:
    """Make a span of a call of gRPC-Web, which has no interceptors, as long as the context. Yields headers to send."""
    if tracing is None:
        yield {}
        return
    span = _begin(tracing, method)
    try:
        yield {KEY: traceparent(span)}
        _end(tracing, span, grpc.StatusCode.OK)
    except grpc.aio.AioRpcError as error:
        _end(tracing, span, error.code())
        raise
    finally:
        span.end()


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
    span = _begin(tracing, path.decode() if isinstance(path, bytes) else path)
    metadata = grpc.aio.Metadata(*(details.metadata or ()), (KEY, traceparent(span)))
    return span, cast("Any", details)._replace(metadata=metadata)


def _begin(tracing: Tracing, path: str) -> Span:
    method = path.removeprefix("/")
    return tracing.start(method, "CLIENT", attributes={"rpc.system": "grpc", "rpc.method": method})


def _end_with(span: Span, _call: object) -> None:
    span.end()


def _end(tracing: Tracing, span: Span, code: grpc.StatusCode) -> None:
    span.set_attribute("rpc.response.status_code", code.name)
    if code is not grpc.StatusCode.OK:
        tracing.fail(span, code.name)
