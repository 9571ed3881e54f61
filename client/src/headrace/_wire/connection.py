"""A connection to one headrace. Stubs are called here and nowhere else.

It adds the access token (and logs in if there is none), a deadline and retries, and turns statuses back into the errors
that the server raised. A connection belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import grpc
import grpc.aio

from headrace import errors
from headrace._target import config
from headrace._target.target import Target
from headrace._wire import diagnosis, tokens, version
from headrace._wire.channel import check_not_forked, open_channel
from headrace._wire.grpc_web import NotGrpc
from headrace._wire.status import from_rpc_error, has_details
from headrace.backoff import delays
from headrace.v1 import (
    auth_service_pb2_grpc,
    cluster_service_pb2_grpc,
    options_service_pb2_grpc,
    policy_service_pb2_grpc,
)

if TYPE_CHECKING:
    from headrace.v1.auth_service_pb2 import LoginResponse
    from headrace.v1.auth_service_pb2_grpc import AuthServiceAsyncStub
    from headrace.v1.cluster_service_pb2_grpc import ClusterServiceAsyncStub
    from headrace.v1.options_service_pb2_grpc import OptionsServiceAsyncStub
    from headrace.v1.policy_service_pb2_grpc import PolicyServiceAsyncStub

Request = TypeVar("Request")
Response = TypeVar("Response")

TRANSIENT = (errors.StoreUnavailable, errors.Draining, errors.TooManyRequests, errors.Unreachable)
"""Errors after which a retry may succeed. `NotHeadrace` is one of them by class, and never retried."""

_PAGE_SIZE = 1000
_NEXT_STEP = "run `headrace doctor` to see which part fails"


class _PageRequest(Protocol):
    page_size: int
    page_token: str


class _Page(Protocol):
    next_page_token: str


PageRequest = TypeVar("PageRequest", bound=_PageRequest)
Page = TypeVar("Page", bound=_Page)


class Connection:
    """A connection to one headrace, opened by the first call.

    Parameters
    ----------
    target
        The headrace, and how to log in.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._token_key = (target.address, target.ca_pem, type(target.auth), target.auth.cache_key())
        self._channel: grpc.aio.Channel | None = None
        self._has_answered = False
        self._login_lock = asyncio.Lock()
        self._pid = os.getpid()
        self.closed = False

    @property
    def auth(self) -> AuthServiceAsyncStub:
        """Stub of AuthService, for `call`."""
        return cast("AuthServiceAsyncStub", auth_service_pb2_grpc.AuthServiceStub(self.channel))

    @property
    def clusters(self) -> ClusterServiceAsyncStub:
        """Stub of ClusterService, for `call`, `pages` and `stream`."""
        return cast("ClusterServiceAsyncStub", cluster_service_pb2_grpc.ClusterServiceStub(self.channel))

    @property
    def options(self) -> OptionsServiceAsyncStub:
        """Stub of OptionsService, for `call`."""
        return cast("OptionsServiceAsyncStub", options_service_pb2_grpc.OptionsServiceStub(self.channel))

    @property
    def policies(self) -> PolicyServiceAsyncStub:
        """Stub of PolicyService, for `call`."""
        return cast("PolicyServiceAsyncStub", policy_service_pb2_grpc.PolicyServiceStub(self.channel))

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel, for services without a stub here."""
        check_not_forked()
        if self.closed:
            raise errors.GatewayServerError(f"this Gateway for {self.target.address} is closed; make a new one")
        if self._channel is None:
            self._channel = open_channel(self.target)
        return self._channel

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        doing: str,
        timeout: float | None = None,
        retry: bool = True,
        anonymous: bool = False,
    ) -> Response:
        """Make a call.

        Parameters
        ----------
        method
            A method of one of the stubs.
        request
            The request. Each retry sends the same, so that its `request_id` holds.
        doing
            What the call is for, such as "scaling cluster c1a2". Error messages start with it.
        timeout
            Seconds until it must have succeeded, retries included. Default: ``headrace.timeouts.call``.
        retry
            Whether to retry while no server answers. False for what must not happen twice.
        anonymous
            Whether to make it without a token.
        """
        deadline = _Deadline(timeout)
        once = self._once if anonymous else self._once_logged_in
        attempt = functools.partial(once, method, request, deadline, doing)
        return await (_retry(attempt, deadline) if retry else attempt())

    async def pages(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[PageRequest, Page],
        request: PageRequest,
        *,
        doing: str,
        timeout: float | None = None,
    ) -> AsyncGenerator[Page, None]:
        """Yield all pages of a list. Parameters are those of `call`; `timeout` is for each page."""
        request.page_size = request.page_size or _PAGE_SIZE
        while True:
            page = await self.call(method, request, doing=doing, timeout=timeout)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def stream(
        self, method: grpc.aio.UnaryStreamMultiCallable[Request, Response], request: Request, *, doing: str
    ) -> AsyncGenerator[Response, None]:
        """Make a call that answers with a stream. A stream that breaks off is not retried (see `resuming`).

        Parameters are those of `call`.
        """
        deadline = _Deadline(None)
        for attempt in range(2):
            token = await self._token(deadline)
            started = False
            answers = method(request, metadata=_metadata(token))
            try:
                async for response in answers:
                    started = self._has_answered = True
                    yield response
                return  # noqa: TRY300 - the else of a try would come after the yield
            except grpc.aio.AioRpcError as failed:
                error = await self._explain(failed, doing, None)
            finally:
                answers.cancel()
            if started or attempt or not isinstance(error, errors.TokenExpired | errors.TokenInvalid):
                raise error
            tokens.discard(self._token_key, token)

    async def login(self, timeout: float | None = None) -> tokens.AccessToken:
        """Log in, also if there is a token, and keep the new token."""
        return await self._login(_Deadline(timeout))

    async def close(self) -> None:
        """Close the connection; calls in progress fail."""
        self.closed = True
        if self._channel is not None and self._pid == os.getpid():
            await self._channel.close()
        self._channel = None

    async def _token(self, deadline: _Deadline) -> str:
        if (token := tokens.get(self._token_key)) is not None:
            return token.text
        async with self._login_lock:
            token = tokens.get(self._token_key) or await self._login(deadline)
        return token.text

    async def _login(self, deadline: _Deadline) -> tokens.AccessToken:
        request = self.target.auth.login_request()

        async def attempt() -> LoginResponse:
            return await self._once(self.auth.Login, request, deadline, f"logging in at {self.target.address}")

        token = tokens.AccessToken.from_login(await _retry(attempt, deadline))
        tokens.put(self._token_key, token)
        return token

    async def _once_logged_in(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        deadline: _Deadline,
        doing: str,
    ) -> Response:
        token = await self._token(deadline)
        try:
            return await self._once(method, request, deadline, doing, token)
        except (errors.TokenExpired, errors.TokenInvalid):
            tokens.discard(self._token_key, token)
        return await self._once(method, request, deadline, doing, await self._token(deadline))

    async def _once(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        deadline: _Deadline,
        doing: str,
        token: str | None = None,
    ) -> Response:
        left = deadline.left()
        # Until something has answered, the address may be wrong: do not wait for an answer as long as for work.
        limit = left if self._has_answered else min(left, max(config.get_seconds("timeouts.connect"), 0.1))
        try:
            call = method(request, timeout=limit, metadata=_metadata(token))
            response = await call
            self._check_version(await call.trailing_metadata())
        except grpc.aio.AioRpcError as failed:
            self._check_version(failed.trailing_metadata())
            raise await self._explain(failed, doing, limit) from None
        self._has_answered = True
        return response

    def _check_version(self, metadata: grpc.aio.Metadata) -> None:
        if server := version.read_version(metadata):
            version.warn_if_far(self.target.address, server)

    async def _explain(self, failed: grpc.aio.AioRpcError, doing: str, limit: float | None) -> errors.HeadraceError:
        error = from_rpc_error(failed, doing)
        if has_details(failed):
            self._has_answered = True
            return error
        code = failed.code()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED and self._has_answered:
            return errors.DeadlineExceeded(f"{doing}: not done within {limit:.3g} s; {_NEXT_STEP}")
        if isinstance(failed, NotGrpc):
            # Where it was headrace before, the proxy between has lost the way there for a while.
            cls = errors.Unreachable if self._has_answered else errors.NotHeadrace
            path = f"headrace is not at the path {self.target.path}: see headrace.address, or ask who runs the hub"
            return cls(f"{doing}: {failed.details()}; {path}")
        if code in {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN}:
            return errors.NotHeadrace(
                f"{doing}: {self.target.address} does not know this call ({failed.details()}); it is not headrace, "
                "or another version of it"
            )
        if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
            return await self._explain_silence(error, doing)
        return error

    async def _explain_silence(self, error: errors.HeadraceError, doing: str) -> errors.HeadraceError:
        hop = await diagnosis.first_failure(self.target)
        if hop is None:
            return errors.Unreachable(f"{error.message}; {_NEXT_STEP}")
        cls = errors.Unreachable if self._has_answered else errors.NotHeadrace
        return cls(f"{doing}: {hop.message}; {_NEXT_STEP}")


class _Deadline:
    """The time at which a call must have succeeded, on the clock of the running loop."""

    def __init__(self, timeout: float | None) -> None:
        seconds = config.get_seconds("timeouts.call") if timeout is None else timeout
        self._end = asyncio.get_running_loop().time() + seconds

    def is_over(self) -> bool:
        return asyncio.get_running_loop().time() >= self._end

    def left(self) -> float:
        return max(0.001, self._end - asyncio.get_running_loop().time())


async def _retry(attempt: Callable[[], Awaitable[Response]], deadline: _Deadline) -> Response:
    """Attempt it until it succeeds, fails for good, or the deadline is near."""
    last: errors.HeadraceError | None = None
    for delay in delays():
        try:
            return await attempt()
        except TRANSIENT as error:
            pause = pause_after(error, delay)
            if last is not None and deadline.is_over():
                raise last from None  # the attempt that the deadline cut short knows less
            if isinstance(error, errors.NotHeadrace) or deadline.left() <= pause:
                raise
            last = error
        await asyncio.sleep(pause)
    raise AssertionError("delays never end")


def pause_after(error: errors.HeadraceError, delay: float) -> float:
    """Return the seconds until the next attempt: `delay`, or what the server has asked for and that much more."""
    return error.retry_after + delay if isinstance(error, errors.TooManyRequests) else delay


def _metadata(token: str | None) -> tuple[tuple[str, Any], ...]:
    return () if token is None else (("authorization", f"Bearer {token}"),)
