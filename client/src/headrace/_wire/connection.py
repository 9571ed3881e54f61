"""A connection to one headrace: the only place that calls its stubs.

It adds the token (and logs in when there is none), a deadline, repeats of what failed for want of a server, and turns
statuses back into the errors that the server raised. A connection belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from headrace import errors
from headrace._target import config as _config
from headrace._target.target import Target
from headrace._wire import channel as _channel
from headrace._wire import diagnosis as _diagnosis
from headrace._wire import status as _status
from headrace._wire import tokens as _tokens
from headrace._wire import version as _version
from headrace.v1 import auth_service_pb2_grpc, cluster_service_pb2_grpc, options_service_pb2_grpc

if TYPE_CHECKING:
    from headrace.v1.auth_service_pb2 import LoginRequest, LoginResponse
    from headrace.v1.auth_service_pb2_grpc import AuthServiceAsyncStub
    from headrace.v1.cluster_service_pb2_grpc import ClusterServiceAsyncStub
    from headrace.v1.options_service_pb2_grpc import OptionsServiceAsyncStub

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

_NEXT_STEP = "run `headrace doctor` to see which part fails"


class Connection:
    """A connection to one headrace, made with the first call.

    Parameters
    ----------
    target
        Which headrace, and how to log in.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._token_key = (target.address, target.ca_pem, type(target.auth), target.auth.cache_key())
        self._channel: grpc.aio.Channel | None = None
        self._has_answered = False
        self._login_lock = asyncio.Lock()
        self._pid = os.getpid()
        self.closed = False
        self.server_version = ""

    @property
    def auth(self) -> AuthServiceAsyncStub:
        """Stub of AuthService, for `call`."""
        return cast("AuthServiceAsyncStub", auth_service_pb2_grpc.AuthServiceStub(self.channel))

    @property
    def clusters(self) -> ClusterServiceAsyncStub:
        """Stub of ClusterService, for `call` and `stream`."""
        return cast("ClusterServiceAsyncStub", cluster_service_pb2_grpc.ClusterServiceStub(self.channel))

    @property
    def options(self) -> OptionsServiceAsyncStub:
        """Stub of OptionsService, for `call`."""
        return cast("OptionsServiceAsyncStub", options_service_pb2_grpc.OptionsServiceStub(self.channel))

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel itself, for other services such as health."""
        _channel.check_not_forked()
        if self.closed:
            raise errors.GatewayServerError(f"this Gateway for {self.target.address} is closed; make a new one")
        if self._channel is None:
            self._channel = _channel.open_channel(self.target)
        return self._channel

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        doing: str,
        timeout: float | None = None,
        repeat: bool = True,
    ) -> Response:
        """Make a call, logged in.

        Parameters
        ----------
        method
            A method of one of the stubs above.
        request
            What to send; the same for each repeat, so that a `request_id` in it holds.
        doing
            What this is for, in words: "scaling cluster c1a2". Begins error messages.
        timeout
            Seconds until it must have succeeded, repeats included. ``headrace.timeouts.call`` by default.
        repeat
            Whether to repeat it while no server answers. False for what must not happen twice.
        """
        deadline = _Deadline(timeout)
        renewed = False
        for pause in _pauses():
            token = await self._token(deadline)
            try:
                return await self._once(method, request, deadline, doing, token)
            except (errors.TokenExpired, errors.TokenInvalid):
                if renewed:
                    raise
                renewed = True
                _tokens.forget(self._token_key, token)
            except (errors.StoreUnavailable, errors.Draining, errors.Unreachable) as error:
                if not repeat or isinstance(error, errors.NotHeadrace) or deadline.left() <= pause:
                    raise
                await asyncio.sleep(pause)
        raise AssertionError("pauses never end")

    async def stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        *,
        doing: str,
        timeout: float | None = None,
    ) -> AsyncGenerator[Response, None]:
        """Make a call that answers in a stream, logged in; not repeated when it breaks.

        Parameters
        ----------
        method, request, doing
            As for `call`.
        timeout
            Seconds until the stream ends with DeadlineExceeded. By default it may last.
        """
        deadline = _Deadline(None)
        for attempt in range(2):
            token = await self._token(deadline)
            begun = False
            answers = method(request, timeout=timeout, metadata=_metadata(token))
            try:
                async for response in answers:
                    begun = self._has_answered = True
                    yield response
                return  # noqa: TRY300 - the else of a try would come after the yield
            except grpc.aio.AioRpcError as status:
                error = await self._explain(status, doing, timeout)
            finally:
                answers.cancel()
            if begun or attempt or not isinstance(error, errors.TokenExpired | errors.TokenInvalid):
                raise error
            _tokens.forget(self._token_key, token)

    async def login(self, timeout: float | None = None) -> _tokens.AccessToken:
        """Log in anew, whatever token there is, and keep the new one."""
        return await self._login(_Deadline(timeout))

    async def check(self, login: LoginRequest) -> LoginResponse:
        """Try a credential without keeping the token."""
        return await self._unauthenticated(login, _Deadline(None))

    async def close(self) -> None:
        """Close the connection; calls that are under way fail."""
        self.closed = True
        if self._channel is not None and self._pid == os.getpid():
            await _channel.close_channel(self._channel)
        self._channel = None

    async def _token(self, deadline: _Deadline) -> str:
        if (token := _tokens.get(self._token_key)) is not None:
            return token.text
        async with self._login_lock:
            token = _tokens.get(self._token_key) or await self._login(deadline)
        return token.text

    async def _login(self, deadline: _Deadline) -> _tokens.AccessToken:
        request = self.target.auth.login_request()
        for pause in _pauses():
            try:
                token = _tokens.AccessToken.of(await self._unauthenticated(request, deadline))
            except (errors.StoreUnavailable, errors.Draining, errors.Unreachable) as error:
                if isinstance(error, errors.NotHeadrace) or deadline.left() <= pause:
                    raise
                await asyncio.sleep(pause)
            else:
                _tokens.put(self._token_key, token)
                return token
        raise AssertionError("pauses never end")

    async def _unauthenticated(self, request: LoginRequest, deadline: _Deadline) -> LoginResponse:
        return await self._once(self.auth.Login, request, deadline, f"logging in at {self.target.address}", None)

    async def _once(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        deadline: _Deadline,
        doing: str,
        token: str | None,
    ) -> Response:
        left = deadline.left()
        # Until something has answered here, the address itself is in doubt: do not wait for it as long as for work.
        limit = left if self._has_answered else min(left, max(_config.get_seconds("timeouts.connect"), 0.1))
        try:
            call = method(request, timeout=limit, metadata=_metadata(token))
            response = await call
            self._note_version(await call.trailing_metadata())
        except grpc.aio.AioRpcError as status:
            self._note_version(status.trailing_metadata())
            raise await self._explain(status, doing, limit) from None
        self._has_answered = True
        return response

    def _note_version(self, metadata: grpc.aio.Metadata) -> None:
        told = _version.told_in(metadata)
        if told and told != self.server_version:
            self.server_version = told
            _version.check(self.target.address, told)

    async def _explain(self, status: grpc.aio.AioRpcError, doing: str, limit: float | None) -> errors.HeadraceError:
        error = _status.from_rpc_error(status, doing)
        if _status.has_details(status):
            self._has_answered = True
            return error
        code = status.code()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED and self._has_answered:
            return errors.DeadlineExceeded(f"{doing}: not done within {limit:.3g} s; {_NEXT_STEP}")
        if code in {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN}:
            return errors.NotHeadrace(
                f"{doing}: {self.target.address} does not know this call ({status.details()}); it is not headrace, "
                "or one of another version"
            )
        if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
            return await self._explain_silence(error, doing)
        return error

    async def _explain_silence(self, error: errors.HeadraceError, doing: str) -> errors.HeadraceError:
        hop = await _diagnosis.first_failure(self.target)
        if hop is None:
            return errors.Unreachable(f"{error.message}; {_NEXT_STEP}")
        cls = errors.Unreachable if self._has_answered else errors.NotHeadrace
        return cls(f"{doing}: {hop.message}; {_NEXT_STEP}")


class _Deadline:
    """When a call must have succeeded, by the clock of the running loop."""

    def __init__(self, timeout: float | None) -> None:
        seconds = _config.get_seconds("timeouts.call") if timeout is None else timeout
        self._end = asyncio.get_running_loop().time() + seconds

    def left(self) -> float:
        return max(0.001, self._end - asyncio.get_running_loop().time())


def _metadata(token: str | None) -> tuple[tuple[str, Any], ...]:
    return () if token is None else (("authorization", f"Bearer {token}"),)


def _pauses() -> Iterator[float]:
    """Endless pauses between repeats: longer and longer, and never the same for two callers."""
    longest = 0.1
    while True:
        yield random.uniform(longest / 2, longest)  # noqa: S311 - not a secret
        longest = min(longest * 1.7, 2.0)
