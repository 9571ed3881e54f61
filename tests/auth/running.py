"""The auth service as it is in production, with a fake controller that sends it routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from headrace._wire.status import from_rpc_error
from headrace.access import Access, Share
from headrace.errors import HeadraceError
from headrace.internal.v1 import route_service_pb2 as routes_pb
from headrace.v1 import auth_service_pb2 as pb
from headrace.v1 import auth_service_pb2_grpc
from headrace_auth.app import build
from headrace_auth.config import AuthSettings
from headrace_chassis.routes import Route
from headrace_chassis.server import serve

if TYPE_CHECKING:
    from headrace.v1.auth_service_pb2_grpc import AuthServiceAsyncStub

Metadata = tuple[tuple[str, str], ...]
_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.default_authority", "localhost"),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20_000),  # what an attempt to connect may take
    ("grpc.max_reconnect_backoff_ms", 50),
]


def route(
    cluster: str,
    owner: str,
    dashboard: str = "10.0.0.7:8787",
    shares: tuple[Share, ...] = (),
    groups: tuple[str, ...] = (),
) -> routes_pb.Route:
    access = Access(owner, groups, shares)
    return Route(
        cluster=cluster, access=access, scheduler_address="10.0.0.7:40123", dashboard_address=dashboard
    ).to_message()


@dataclass
class Answer:
    """The answer to Envoy: to let a request through (status 200, with headers for upstream), or a response."""

    status: int
    headers: dict[str, str]
    body: str = ""
    removed: list[str] = field(default_factory=list[str])
    removed_parameters: list[str] = field(default_factory=list[str])
    remembered: dict[str, object] = field(default_factory=dict[str, object])


@dataclass
class RunningAuth:
    """A replica with its channels."""

    settings: AuthSettings
    channel: grpc.aio.Channel
    authz_channel: grpc.aio.Channel

    @property
    def stub(self) -> AuthServiceAsyncStub:
        return cast("AuthServiceAsyncStub", auth_service_pb2_grpc.AuthServiceStub(self.channel))

    async def login(self, username: str, password: str, source: str = "192.0.2.1") -> Metadata:
        """Logs in through a proxy that has the call from `source`."""
        request = pb.LoginRequest(password=pb.PasswordCredential(username=username, password=password))
        return bearer((await self.stub.Login(request, metadata=(("x-forwarded-for", source),))).access_token)

    async def login_with(self, secret: str) -> pb.LoginResponse:
        return await self.stub.Login(pb.LoginRequest(token=pb.TokenCredential(token=secret)))

    async def link(self, cluster: str, caller: Metadata, page: str = "") -> str:
        request = pb.CreateDashboardLinkRequest(name=f"clusters/{cluster}", page=page)
        return (await self.stub.CreateDashboardLink(request, metadata=caller)).path

    async def ask(self, path: str, method: str = "GET", host: str = "headrace.example", **headers: str) -> Answer:
        """Asks as Envoy does."""
        request = cast("Any", external_auth_pb2).CheckRequest()
        http = request.attributes.request.http
        http.method, http.path, http.host = method, path, host
        for name, value in headers.items():
            http.headers[name.replace("_", "-")] = value
        return _answer(await external_auth_pb2_grpc.AuthorizationStub(self.authz_channel).Check(request, timeout=30))


def _answer(response: Any) -> Answer:
    if response.status.code == 0:
        ok = response.ok_response
        removed, parameters = list(ok.headers_to_remove), list(ok.query_parameters_to_remove)
        return Answer(200, _headers(ok), "", removed, parameters, dict(response.dynamic_metadata))
    denied = response.denied_response
    return Answer(denied.status.code, _headers(denied), denied.body)


def _headers(response: Any) -> dict[str, str]:
    for option in response.headers:
        assert option.append_action == option.OVERWRITE_IF_EXISTS_OR_ADD, "a client's header must not survive"
    return {option.header.key: option.header.value for option in response.headers}


async def failure(call: Awaitable[object]) -> HeadraceError:
    """Returns the error that a call fails with, as our client would raise it."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


def bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)


@asynccontextmanager
async def running_auth(settings: AuthSettings) -> AsyncGenerator[RunningAuth]:
    """Runs a replica until the block is left."""
    task = asyncio.create_task(serve(settings, build))
    try:
        async with (
            grpc.aio.insecure_channel(settings.listen, options=_OPTIONS) as channel,
            grpc.aio.insecure_channel(settings.internal_listen, options=_OPTIONS) as authz,
        ):
            serving = asyncio.create_task(_serving(channel))
            await asyncio.wait([task, serving], return_when=asyncio.FIRST_COMPLETED)
            serving.cancel()
            yield RunningAuth(settings, channel, authz)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _serving(channel: grpc.aio.Channel) -> None:
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
    request: Message = health_pb2.HealthCheckRequest(service="headrace.v1.AuthService")
    async for answer in watch(request.SerializeToString(), wait_for_ready=True):
        if health_pb2.HealthCheckResponse.FromString(answer).status == health_pb2.HealthCheckResponse.SERVING:
            return
