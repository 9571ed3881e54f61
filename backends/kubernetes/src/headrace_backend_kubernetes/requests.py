"""How requests to the API server are made: bounded in rate and number, tried again, counted.

The client's generated functions are called without their decorator, which would build a model of each body and lose
the fields that the model does not have. So the API server, and not the client, judges what a pod may contain.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import msgspec
from kubernetes.aio.client import ApiClient, AuthenticationV1Api, CoreV1Api

from headrace.backoff import delays
from headrace_backend_kubernetes import metrics
from headrace_backend_kubernetes.faults import ApiError, Unreachable, silent
from headrace_backend_kubernetes.objects import Status, decode_status
from headrace_backend_kubernetes.pace import Pace
from headrace_controller.backends.contact import ContactRecord

TRY_SECONDS = 20.0

_OF_KUBELETS = frozenset({"pods/log"})  # which may be away by themselves, or have nothing to say
_AT_ONCE = 32
_TRIES = 4
_TRYING_SECONDS = 20.0  # after these nothing is tried again: a user who waits is told within 40 s
_CONNECT_SECONDS = 5.0
_LONGEST_PAUSE = 10.0


class Requests:
    """Makes requests. All methods raise `ApiError` if the API server refuses, `Unreachable` if it is away.

    Parameters
    ----------
    pace
        Of requests that change something.
    contact
        Records whether the API server answers.
    """

    def __init__(self, api_client: ApiClient, *, pace: Pace, contact: ContactRecord) -> None:
        self._client = api_client
        self._core = CoreV1Api(api_client)
        self._reviews = AuthenticationV1Api(api_client)
        self._pace = pace
        self._contact = contact
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.close()

    async def read(self, verb: str, resource: str, function: str, **arguments: Any) -> bytes:
        """Calls a generated function that changes nothing; returns the answer as JSON."""
        return await self._request(verb, resource, self._function(function), **arguments)

    async def write(self, verb: str, resource: str, function: str, **arguments: Any) -> bytes:
        """Calls a generated function that changes something, at the pace."""
        async with self._room:
            return await self._request(verb, resource, self._function(function), paced=True, **arguments)

    async def review(self, body: Any) -> bytes:
        """Has a token reviewed; returns the review as JSON."""
        function = _bare(self._reviews, "create_token_review")
        return await self._request("create", "tokenreviews", function, body=body)

    @asynccontextmanager
    async def stream(
        self, verb: str, resource: str, function: str, *, silent_seconds: float | None, **arguments: Any
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Opens a stream of bytes; it breaks if nothing comes for that long, and is not tried again."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=silent_seconds)
        response = await self._open(verb, resource, function, timeout, **arguments)
        try:
            yield _chunks(response)
        finally:
            _abort(response)

    async def _request(
        self,
        verb: str,
        resource: str,
        function: Callable[..., Awaitable[Any]],
        *,
        paced: bool = False,
        **arguments: Any,
    ) -> bytes:
        """Makes a request until it is answered for good; waits as long as the server says."""
        pauses = delays(0.1, _LONGEST_PAUSE / 4)
        give_up = time.monotonic() + _TRYING_SECONDS
        for tries_left in reversed(range(_TRIES)):
            if paced:
                await self._pace.turn()
            try:
                response = await self._answer(
                    verb, resource, function(_request_timeout=_each_try(), _headers=_plain_json(), **arguments)
                )
                async with response:
                    content = await response.read()
                if response.status < 300:
                    return content
                error = _refusal(response.status, content)
                if not error.is_passing or not tries_left or time.monotonic() > give_up:
                    raise error
                pause = max(next(pauses), min(_LONGEST_PAUSE, _retry_after(response, error)))
            except (aiohttp.ClientError, OSError, TimeoutError) as failure:
                if not tries_left or time.monotonic() > give_up:
                    raise Unreachable(failure) from failure
                pause = next(pauses)
            await asyncio.sleep(pause)
        raise AssertionError  # the last try returns or raises

    async def _open(
        self, verb: str, resource: str, function: str, timeout: aiohttp.ClientTimeout, **arguments: Any
    ) -> aiohttp.ClientResponse:
        try:
            response = await self._answer(
                verb, resource,
                self._function(function)(_request_timeout=timeout, _headers=_plain_json(), **arguments),
            )  # fmt: skip
            if response.status < 300:
                return response
            async with response:
                raise _refusal(response.status, await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError) as failure:
            raise Unreachable(failure) from failure

    async def _answer(self, verb: str, resource: str, request: Awaitable[Any]) -> aiohttp.ClientResponse:
        """Returns the response; counts it, and records whether the API server answers at all."""
        began = time.monotonic()
        try:
            response = await _counted(verb, resource, request)
        except (aiohttp.ClientError, OSError, TimeoutError) as failure:
            self._record_silence(resource, Unreachable(failure), began)
            raise
        except asyncio.CancelledError:
            if time.monotonic() - began > _CONNECT_SECONDS:  # the caller has given up
                self._record_silence(resource, TimeoutError(f"nothing within {_CONNECT_SECONDS:.0f} s"), began)
            raise
        refusal = ApiError(response.status)
        if refusal.is_of_absence:
            self._record_silence(resource, refusal, began)
        else:
            self._contact.answered()
        return response

    def _record_silence(self, resource: str, failure: Exception, began: float) -> None:
        if resource not in _OF_KUBELETS:
            self._contact.failed(silent(failure), waited=time.monotonic() - began)

    def _function(self, name: str) -> Callable[..., Awaitable[Any]]:
        return _bare(self._core, name)


def _bare(api: object, function: str) -> Callable[..., Awaitable[Any]]:
    """Returns a generated function without its decorator; it answers with the response as it comes."""
    return partial(getattr(type(api), f"{function}_without_preload_content").raw_function, api)


def _abort(response: aiohttp.ClientResponse) -> None:
    """Ends a stream at once. In order, TLS would wait for the server, which sends what we no longer read."""
    if response.connection and (transport := response.connection.transport):
        transport.abort()
    response.close()


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError, TimeoutError) as failure:
        raise Unreachable(failure) from failure


async def _counted(verb: str, resource: str, answer: Awaitable[Any]) -> aiohttp.ClientResponse:
    try:
        response = await answer
    except BaseException:
        metrics.REQUESTS.labels(verb, resource, "error").inc()
        raise
    metrics.REQUESTS.labels(verb, resource, str(response.status)).inc()
    return response


def _each_try() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=TRY_SECONDS, sock_connect=_CONNECT_SECONDS)


def _plain_json() -> dict[str, str]:
    return {"Accept": "application/json"}


def _refusal(code: int, content: bytes) -> ApiError:
    try:
        status = decode_status(content)
    except (msgspec.DecodeError, msgspec.ValidationError):  # a proxy in between answered
        status = Status(message=content[:200].decode(errors="replace"))
    return ApiError(code, status.reason, status.message, status.details)


def _retry_after(response: aiohttp.ClientResponse, error: ApiError) -> float:
    header = response.headers.get("Retry-After", "")
    return float(header) if header.isascii() and header.isdecimal() else float(error.details.retry_after_seconds)
