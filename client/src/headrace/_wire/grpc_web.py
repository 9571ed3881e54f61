"""gRPC-Web over HTTP/1.1: calls to a headrace behind a proxy that knows neither HTTP/2 nor trailers.

JupyterHub's proxy is one. `GrpcWebChannel` has what the generated stubs and `Connection` use of `grpc.aio.Channel`.
"""

from __future__ import annotations

import asyncio
import functools
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable
from contextlib import aclosing
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

import grpc
import grpc.aio

from headrace._target.target import Target
from headrace._wire.call_spans import web_span
from headrace._wire.http1 import BROKEN, Answer, HttpConnections
from headrace.tracing import Tracing

Request = TypeVar("Request")
Response = TypeVar("Response")
_Metadata = tuple[tuple[str, str], ...]

MAX_MESSAGE = 64 * 1024 * 1024
_MAX_TRAILERS = 64 * 1024
_COMPRESSED, _TRAILERS = 0x01, 0x80
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_AWAY = {429, 502, 503, 504}


class NotGrpc(grpc.aio.AioRpcError):
    """The answer is not gRPC: something else is at the address, or between."""


class GrpcWebChannel:
    """A channel to a target whose address has a path. It connects with the first call.

    Parameters
    ----------
    target
        The headrace.
    tracing
        What makes spans of the calls, if any.
    """

    def __init__(self, target: Target, tracing: Tracing | None = None) -> None:
        self._connections = HttpConnections(target)
        self._tracing = tracing

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Response],
        _registered_method: bool = False,
    ) -> Callable[..., _UnaryCall[Response]]:
        """Return a method with one answer."""
        begin = functools.partial(_Call, self._connections, self._tracing, method, request_serializer)
        return lambda *args, **kwargs: _UnaryCall(begin(*args, **kwargs), response_deserializer)

    def unary_stream(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Response],
        _registered_method: bool = False,
    ) -> Callable[..., _StreamCall[Response]]:
        """Return a method with a stream of answers."""
        begin = functools.partial(_Call, self._connections, self._tracing, method, request_serializer)
        return lambda *args, **kwargs: _StreamCall(begin(*args, **kwargs), response_deserializer)

    async def close(self) -> None:
        """Close the connections; calls in progress fail."""
        self._connections.close()


class _Call:
    """One call: sent when its messages are read."""

    def __init__(
        self,
        connections: HttpConnections,
        tracing: Tracing | None,
        method: str,
        serialize: Callable[[Any], bytes],
        request: object,
        *,
        timeout: float | None = None,
        metadata: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._connections = connections
        self._target = connections.target
        self._path = self._target.path + method
        self._span = web_span(tracing, method)
        self._body = serialize(request)
        self._timeout = timeout
        self._metadata = dict(metadata)
        self.trailing: _Metadata = ()
        self._answer: Answer | None = None

    def cancel(self) -> bool:
        """Cut the answer off, if it has begun."""
        if self._answer is None:
            return False
        self._answer.cut_off()
        return True

    async def messages(self) -> AsyncGenerator[bytes, None]:
        """Yield the messages. Raises AioRpcError unless the status is OK."""
        end = None if self._timeout is None else asyncio.get_running_loop().time() + self._timeout
        with self._span as headers:
            self._metadata |= headers
            async with aclosing(self._exchange()) as messages:
                while True:
                    try:
                        async with asyncio.timeout_at(end):
                            message = await anext(messages, None)
                    except TimeoutError:
                        raise self._error(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None
                    if message is None:
                        return
                    yield message

    async def _exchange(self) -> AsyncGenerator[bytes, None]:
        try:
            async with self._connections.post(self._path, self._headers(), _frame(self._body)) as answer:
                self._check(answer)
                self._answer = answer
                status = answer.headers
                async with aclosing(_frames(answer.body())) as frames:
                    async for flags, content in frames:
                        if flags & _TRAILERS:
                            status = _parse_trailers(content)
                        elif flags & _COMPRESSED:
                            raise ValueError("the answer is compressed")
                        else:
                            yield content
                self._answer = None
                self._finish([(str(name).lower(), str(value)) for name, value in status.items()])
        except _TooLarge:
            text = f"an answer is larger than {MAX_MESSAGE >> 20} MiB"
            raise self._error(grpc.StatusCode.RESOURCE_EXHAUSTED, text) from None
        except BROKEN as error:
            text = f"the connection to {self._target.address} failed ({error or type(error).__name__})"
            raise self._error(grpc.StatusCode.UNAVAILABLE, text) from error

    def _headers(self) -> dict[str, str]:
        headers = {
            "content-type": "application/grpc-web+proto",
            "accept": "application/grpc-web+proto",
            "x-grpc-web": "1",
            "user-agent": "headrace",
        }
        if self._timeout is not None:
            headers["grpc-timeout"] = f"{min(max(round(self._timeout * 1000), 1), 99_999_999)}m"
        return headers | self._metadata

    def _check(self, answer: Answer) -> None:
        if answer.headers.get("content-type", "").startswith("application/grpc"):
            return
        text = f"{self._target.address} answers HTTP {answer.status} {answer.reason}"
        if answer.status in _AWAY:
            raise self._error(grpc.StatusCode.UNAVAILABLE, f"{text}: the proxy there does not reach headrace")
        if place := answer.headers.get("location"):
            text += f" to {place.partition('?')[0]:.100}"
        nothing = grpc.aio.Metadata()
        raise NotGrpc(grpc.StatusCode.UNKNOWN, nothing, nothing, f"{text}, and not gRPC")

    def _finish(self, status: list[tuple[str, str]]) -> None:
        facts = dict(status)
        if "grpc-status" not in facts:
            raise EOFError("the answer is cut off")
        message = unquote(facts.pop("grpc-message", ""))
        code = _CODES.get(int(facts.pop("grpc-status")), grpc.StatusCode.UNKNOWN)
        self.trailing = tuple(facts.items())
        if code is not grpc.StatusCode.OK:
            raise self._error(code, message)

    def _error(self, code: grpc.StatusCode, text: str) -> grpc.aio.AioRpcError:
        trailing = grpc.aio.Metadata(*((name, _decoded(name, value)) for name, value in self.trailing))
        return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, text)


class _UnaryCall(Generic[Response]):
    def __init__(self, call: _Call, deserialize: Callable[[bytes], Response]) -> None:
        self._call = call
        self._deserialize = deserialize

    def __await__(self) -> Generator[Any, None, Response]:
        return self._answer().__await__()

    async def trailing_metadata(self) -> _Metadata:
        return self._call.trailing

    async def _answer(self) -> Response:
        async with aclosing(self._call.messages()) as messages:
            answers = [self._deserialize(message) async for message in messages]
        if len(answers) != 1:
            text = f"{len(answers)} answers to a call that has one"
            raise grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), text)
        return answers[0]


class _StreamCall(Generic[Response]):
    def __init__(self, call: _Call, deserialize: Callable[[bytes], Response]) -> None:
        self._call = call
        self._messages = call.messages()
        self._deserialize = deserialize

    def __aiter__(self) -> AsyncIterator[Response]:
        return self

    async def __anext__(self) -> Response:
        return self._deserialize(await anext(self._messages))

    def cancel(self) -> bool:
        return self._call.cancel()


class _TooLarge(Exception):
    pass


async def _frames(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[tuple[int, bytes], None]:
    """Yield flags and content of each frame."""
    buffer = bytearray()
    async with aclosing(pieces):
        async for piece in pieces:
            buffer += piece
            while len(buffer) >= 5:
                end = 5 + int.from_bytes(buffer[1:5], "big")
                if end - 5 > MAX_MESSAGE:
                    raise _TooLarge
                if len(buffer) < end:
                    break
                yield buffer[0], bytes(buffer[5:end])
                del buffer[:end]
    if buffer:
        raise EOFError("the answer is cut off")


def _frame(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def _parse_trailers(content: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in content.decode("latin-1").split("\r\n") if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _decoded(name: str, value: str) -> str | bytes:
    if not name.endswith("-bin"):
        return value
    return b64decode(value + "=" * (-len(value) % 4))
