"""Two servers of our wire: the real controller in this process, and the fake that the client's tests run against.

What a test here asserts holds for both, so that the fake cannot drift from the real one.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, cast

import grpc.aio
import pytest
from redis.asyncio import Redis
from tests.client.fake_headrace import FakeHeadrace
from tests.controller.stubs import cluster_service, options_service
from tests.controller.user import User

from headrace.v1 import auth_service_pb2, auth_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headrace.v1.auth_service_pb2_grpc import AuthServiceAsyncStub

    LogIn = Callable[[str], Awaitable[User]]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose path is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="hrc-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=["real", "fake"])
async def log_in(request: pytest.FixtureRequest, directory: Path, redis_url: str, redis: Redis) -> AsyncIterator[LogIn]:
    """Logs users in at either server."""
    _ = redis  # flushed
    async with AsyncExitStack() as stack:
        yield await (_real(stack, directory, redis_url) if request.param == "real" else _fake(stack, directory))


@pytest.fixture
async def ann(log_in: LogIn) -> User:
    return await log_in("ann")


@pytest.fixture
async def bob(log_in: LogIn) -> User:
    return await log_in("bob")


async def _real(stack: AsyncExitStack, directory: Path, redis_url: str) -> LogIn:
    from tests.controller.running import site

    replica = await (await stack.enter_async_context(site(directory, redis_url))).replica()
    return replica.user


async def _fake(stack: AsyncExitStack, directory: Path) -> LogIn:
    fake = FakeHeadrace(directory)
    stack.callback(fake.close)
    credentials = grpc.ssl_channel_credentials(fake.ca_file.read_bytes())
    channel = await stack.enter_async_context(grpc.aio.secure_channel(f"localhost:{fake.port}", credentials))

    async def log_in(name: str) -> User:
        stub = cast("AuthServiceAsyncStub", auth_service_pb2_grpc.AuthServiceStub(channel))
        credential = auth_service_pb2.TokenCredential(token=f"{name}-secret")
        answer = await stub.Login(auth_service_pb2.LoginRequest(token=credential))
        metadata = (("authorization", f"Bearer {answer.access_token}"),)
        return User(name, cluster_service(channel), options_service(channel), metadata, channel)

    return log_in
