"""Servers with AuthService, real and fake: with ann, bob and a cluster of ann's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc.aio
from argon2 import PasswordHasher
from tests.auth.running import running_auth
from tests.client.fake_headrace import FakeHeadrace
from tests.controller.stubs import cluster_service, options_service
from tests.controller.user import User
from tests.fake_routes import FakeRoutes

from headrace.access import Access
from headrace.v1 import auth_service_pb2 as pb
from headrace.v1 import auth_service_pb2_grpc
from headrace_auth.authenticators.users_file import UserRecord, write_users
from headrace_auth.config import AuthSettings
from headrace_chassis.identity.seal import new_deployment_key
from headrace_chassis.routes import Route

if TYPE_CHECKING:
    from headrace.v1.auth_service_pb2_grpc import AuthServiceAsyncStub

CallFailed = grpc.aio.AioRpcError
Metadata = tuple[tuple[str, str], ...]
_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # real hashes that cost nothing to verify


@dataclass(frozen=True)
class AuthServer:
    """A server with AuthService; the password of each user is "{user} sesame"."""

    channel: grpc.aio.Channel
    create_cluster: Callable[[Metadata], Awaitable[str]]

    @property
    def stub(self) -> AuthServiceAsyncStub:
        return cast("AuthServiceAsyncStub", auth_service_pb2_grpc.AuthServiceStub(self.channel))

    async def call(self, method: str, request: Any, caller: Metadata = ()) -> Any:
        return await getattr(self.stub, method)(request, metadata=caller, timeout=30)

    async def log_in(self, user: str) -> Metadata:
        credential = pb.PasswordCredential(username=user, password=f"{user} sesame")
        answer = await self.stub.Login(pb.LoginRequest(password=credential), timeout=30)
        return bearer(answer)


def bearer(answer: pb.LoginResponse) -> Metadata:
    return (("authorization", f"Bearer {answer.access_token}"),)


async def real(stack: AsyncExitStack, directory: Path, redis_url: str) -> AuthServer:
    settings = _settings(directory, redis_url)
    routes = FakeRoutes(settings.route_address)
    await routes.start()
    stack.push_async_callback(routes.stop)
    auth = await stack.enter_async_context(running_auth(settings))

    async def create_cluster(caller: Metadata) -> str:
        who = await auth.stub.WhoAmI(pb.WhoAmIRequest(), metadata=caller)
        access = Access(who.name.removeprefix("users/"))
        route = Route(cluster="c1", access=access, dashboard_address="10.0.0.7:8787").to_message()
        routes.send(route)
        return route.cluster

    return AuthServer(auth.channel, create_cluster)


def _settings(directory: Path, redis_url: str) -> AuthSettings:
    users = [UserRecord(name, _HASHER.hash(f"{name} sesame"), ("people",)) for name in ("ann", "bob")]
    write_users(directory / "users", {user.name: user for user in users})
    (directory / "keys").write_text(new_deployment_key())
    return AuthSettings(
        listen=f"unix:{directory}/auth.sock",
        internal_listen=f"unix:{directory}/internal.sock",
        route_address=f"unix:{directory}/routes.sock",
        redis_url=redis_url,
        deployment_key_file=directory / "keys",
        authenticators={"password": {"users_file": directory / "users", "prefix": ""}},  # type: ignore[dict-item]
    )


async def fake(stack: AsyncExitStack, directory: Path) -> AuthServer:
    headrace = FakeHeadrace(directory)
    stack.callback(headrace.close)
    credentials = grpc.ssl_channel_credentials(headrace.ca_file.read_bytes())
    channel = await stack.enter_async_context(grpc.aio.secure_channel(f"localhost:{headrace.port}", credentials))

    async def create_cluster(caller: Metadata) -> str:
        user = User("", cluster_service(channel), options_service(channel), caller, channel)
        made = await user.create()
        await user.until(made.name, "RUNNING")
        return made.name

    return AuthServer(channel, create_cluster)
