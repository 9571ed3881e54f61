"""Fake servicers on the real chassis, as a client sees them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from typing_extensions import override

from headrace.internal.v1 import agent_service_pb2, agent_service_pb2_grpc, route_service_pb2, route_service_pb2_grpc
from headrace.v1 import auth_service_pb2, auth_service_pb2_grpc, cluster_service_pb2, cluster_service_pb2_grpc
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.caller import current_agent, current_caller
from headrace_chassis.identity.seal import read_deployment_keys
from headrace_chassis.identity.tokens import TokenVerifier
from headrace_chassis.server import App, Registration, serve
from headrace_chassis.settings import ServiceSettings

if TYPE_CHECKING:
    from headrace.internal.v1.agent_service_pb2_grpc import AgentServiceAsyncStub
    from headrace.internal.v1.route_service_pb2_grpc import RouteServiceAsyncStub
    from headrace.v1.auth_service_pb2_grpc import AuthServiceAsyncStub
    from headrace.v1.cluster_service_pb2_grpc import ClusterServiceAsyncStub

Metadata = tuple[tuple[str, str], ...]


async def nothing() -> None:
    """What a servicer does unless a test says otherwise."""


@dataclass
class Signing:
    """A key and the tokens signed with it."""

    key_id: str = "k1"
    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def public(self) -> jwt.PyJWK:
        return jwt.PyJWK(ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True), "ES256")

    def token(
        self, user: str = "ann", *, roles: tuple[str, ...] = ("user",), seconds: float = 60, **claims: object
    ) -> str:
        content = {
            "sub": user,
            "groups": ["astro"],
            "roles": list(roles),
            "method": "password",
            "iss": "headrace",
            "aud": "headrace",
            "exp": int(time.time() + seconds),
            **claims,
        }
        return jwt.encode(content, self.private, "ES256", headers={"kid": self.key_id})


class Auth(auth_service_pb2_grpc.AuthServiceServicer):
    def __init__(self) -> None:
        self.behaviour: Callable[[], Awaitable[None]] = nothing

    @override
    async def Login(self, request: auth_service_pb2.LoginRequest, context: Any) -> auth_service_pb2.LoginResponse:
        await self.behaviour()
        return auth_service_pb2.LoginResponse(access_token=request.password.username)

    @override
    async def WhoAmI(self, request: auth_service_pb2.WhoAmIRequest, context: Any) -> auth_service_pb2.User:
        caller = current_caller()
        return auth_service_pb2.User(name=f"users/{caller.user}", groups=caller.groups, method=caller.method)


class Clusters(cluster_service_pb2_grpc.ClusterServiceServicer):
    def __init__(self) -> None:
        self.writes, self.ended = asyncio.Event(), asyncio.Event()
        self.suffix = ""

    @override
    async def WatchClusters(
        self, request: cluster_service_pb2.WatchClustersRequest, context: Any
    ) -> AsyncIterator[cluster_service_pb2.WatchClustersResponse]:
        try:
            self.writes.set()
            yield cluster_service_pb2.WatchClustersResponse(resume_token=current_caller().user + self.suffix)
            await asyncio.Event().wait()
        finally:
            self.ended.set()


class Agents(agent_service_pb2_grpc.AgentServiceServicer):
    @override
    async def Session(
        self, request_iterator: AsyncIterator[agent_service_pb2.SessionRequest], context: Any
    ) -> AsyncIterator[agent_service_pb2.SessionResponse]:
        async for request in request_iterator:
            group = agent_service_pb2.AdaptiveGroup(group=current_agent().cluster, desired=request.sequence)
            yield agent_service_pb2.SessionResponse(adaptive_groups=[group])


class Routes(route_service_pb2_grpc.RouteServiceServicer):
    @override
    async def WatchRoutes(
        self, request_iterator: AsyncIterator[route_service_pb2.WatchRoutesRequest], context: Any
    ) -> AsyncIterator[route_service_pb2.WatchRoutesResponse]:
        yield route_service_pb2.WatchRoutesResponse(version="1", snapshot=True)


@dataclass
class Running:
    """A running service with a channel to each of its listeners."""

    settings: ServiceSettings
    channel: grpc.aio.Channel
    internal_channel: grpc.aio.Channel
    fake: FakeService
    task: asyncio.Task[None]

    @property
    def auth(self) -> AuthServiceAsyncStub:
        return cast("AuthServiceAsyncStub", auth_service_pb2_grpc.AuthServiceStub(self.channel))

    @property
    def clusters(self) -> ClusterServiceAsyncStub:
        return cast("ClusterServiceAsyncStub", cluster_service_pb2_grpc.ClusterServiceStub(self.channel))

    @property
    def agents(self) -> AgentServiceAsyncStub:
        return cast("AgentServiceAsyncStub", agent_service_pb2_grpc.AgentServiceStub(self.channel))

    def routes(self, *, internal: bool) -> RouteServiceAsyncStub:
        channel = self.internal_channel if internal else self.channel
        return cast("RouteServiceAsyncStub", route_service_pb2_grpc.RouteServiceStub(channel))

    def bearer(self, user: str = "ann", *, roles: tuple[str, ...] = ("user",), seconds: float = 60) -> Metadata:
        return (("authorization", f"Bearer {self.fake.signing.token(user, roles=roles, seconds=seconds)}"),)

    def agent(self, cluster: str) -> Metadata:
        keys = read_deployment_keys(self.settings.deployment_key_file)
        token = AgentTokens(keys, self.settings.deployment).credential(cluster, "scheduler", 60)
        return (("authorization", f"Agent {token}"),)


def unix_channel(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(
        address, options=[("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
    )


@dataclass
class FakeService:
    """What a service would build."""

    signing: Signing = field(default_factory=Signing)
    auth: Auth = field(default_factory=cast("Any", Auth))
    clusters: Clusters = field(default_factory=cast("Any", Clusters))
    failing: list[str] = field(default_factory=list[str])
    checked: asyncio.Event = field(default_factory=asyncio.Event)
    further: tuple[Registration, ...] = ()

    async def build(self, _settings: ServiceSettings, _stack: AsyncExitStack) -> App:
        return App(
            public=[self._auth, self._clusters, self._agents, self._routes, *self.further],
            internal=[self._routes, *self.further],
            check=self._check,
            verifier=TokenVerifier(self._keys, "headrace"),
        )

    async def _keys(self) -> Mapping[str, jwt.PyJWK]:
        return {self.signing.key_id: self.signing.public}

    async def _check(self) -> None:
        self.checked.set()
        if self.failing:
            raise RuntimeError(self.failing[0])

    def _auth(self, server: grpc.aio.Server) -> str:
        auth_service_pb2_grpc.add_AuthServiceServicer_to_server(self.auth, server)
        return "headrace.v1.AuthService"

    def _clusters(self, server: grpc.aio.Server) -> str:
        cluster_service_pb2_grpc.add_ClusterServiceServicer_to_server(self.clusters, server)
        return "headrace.v1.ClusterService"

    def _agents(self, server: grpc.aio.Server) -> str:
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(cast("Any", Agents)(), server)
        return "headrace.internal.v1.AgentService"

    def _routes(self, server: grpc.aio.Server) -> str:
        route_service_pb2_grpc.add_RouteServiceServicer_to_server(Routes(), server)
        return "headrace.internal.v1.RouteService"


@asynccontextmanager
async def running_service(settings: ServiceSettings, *further: Registration) -> AsyncGenerator[Running]:
    """Runs the fake service with further servicers; raises if it ended with an error."""
    fake = FakeService(further=further)
    task = asyncio.create_task(serve(settings, fake.build))
    checked = asyncio.create_task(fake.checked.wait())
    await asyncio.wait([task, checked], return_when=asyncio.FIRST_COMPLETED)
    checked.cancel()
    public, internal = unix_channel(settings.listen), unix_channel(settings.internal_listen)
    try:
        async with public, internal:
            yield Running(settings, public, internal, fake, task)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
