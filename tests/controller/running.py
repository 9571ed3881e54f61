"""A whole controller in this process: the real server of the chassis on unix sockets, with a fake backend."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from tests.backends.fake_backend import FakeBackend
from tests.backends.fake_machine import FakeMachine
from tests.controller.agents.fake_agents import FakeAgents
from tests.controller.fake_proxy import FakeProxy
from tests.controller.stubs import cluster_service, options_service
from tests.controller.user import User

from headrace_chassis.identity.caller import USER
from headrace_chassis.identity.seal import new_deployment_key
from headrace_chassis.identity.tokens import Keys, TokenVerifier
from headrace_chassis.server import App, serve
from headrace_controller.app import build_with
from headrace_controller.config import Settings

DEPLOYMENT = "test"
_KEY = ec.generate_private_key(ec.SECP256R1())


def token(user: str, *roles: str, groups: Sequence[str] = ()) -> str:
    """Return an access token as auth signs it."""
    claims = {
        "sub": user,
        "groups": list(groups),
        "roles": list(roles) or [USER],
        "iss": DEPLOYMENT,
        "aud": "headrace",
        "exp": int(time.time()) + 900,
    }
    return jwt.encode(claims, _KEY, algorithm="ES256", headers={"kid": "k1"})


async def _keys() -> Keys:
    jwk = ECAlgorithm.to_jwk(_KEY.public_key(), as_dict=True)
    return {"k1": jwt.PyJWK(jwk, "ES256")}


class Replica:
    """A running controller."""

    def __init__(
        self, settings: Settings, machine: FakeMachine, others: Mapping[str, FakeMachine] | None = None
    ) -> None:
        self.settings = settings
        self.machine = machine
        self.others = others or {}
        self.endpoint = settings.listen
        self.task: asyncio.Task[None] | None = None
        self._channels = AsyncExitStack()

    async def start(self) -> None:
        self.task = asyncio.create_task(serve(self.settings, self._build))
        async with asyncio.timeout(60):
            await self._listens()  # gRPC itself would try again only after a second
            async with grpc.aio.insecure_channel(self.endpoint) as channel:
                await channel.channel_ready()

    async def _listens(self) -> None:
        path = self.endpoint.removeprefix("unix:")
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(path)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                await writer.wait_closed()
                return

    async def _build(self, settings: Settings, stack: AsyncExitStack) -> App:
        others = {name: FakeBackend(machine) for name, machine in self.others.items()}
        app = await build_with(settings, stack, FakeBackend(self.machine), self.machine.options, others)
        return replace(app, verifier=TokenVerifier(_keys, DEPLOYMENT))

    async def drain(self) -> None:
        """Drain as SIGTERM does."""
        os.kill(os.getpid(), signal.SIGTERM)
        assert self.task is not None
        await self.task

    async def stop(self) -> None:
        await self._channels.aclose()
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task

    async def user(self, name: str, *roles: str, groups: Sequence[str] = ()) -> User:
        channel = await self._channels.enter_async_context(grpc.aio.insecure_channel(self.endpoint))
        metadata = (("authorization", f"Bearer {token(name, *roles, groups=groups)}"),)
        return User(name, cluster_service(channel), options_service(channel), metadata, channel)


class Site:
    """A deployment: a machine, a store, and controllers that come and go."""

    def __init__(self, directory: Path, redis_url: str) -> None:
        self.directory = directory
        self.redis_url = redis_url
        self.machine = FakeMachine()
        self.others: dict[str, FakeMachine] = {}  # further backends, by name
        self.agents = FakeAgents(self.machine, [])
        self.proxy = FakeProxy()
        self.replicas: list[Replica] = []
        self._proxy_task: asyncio.Task[None] | None = None
        self._key_file = directory / "key"
        self._key_file.write_text(new_deployment_key() + "\n")

    def settings(self, name: str, **changes: Any) -> Settings:
        values: dict[str, Any] = {
            "deployment": DEPLOYMENT,
            "replica": name,
            "listen": f"unix:{self.directory}/{name}",
            "internal_listen": f"unix:{self.directory}/{name}i",
            "redis_url": self.redis_url,
            "deployment_key_file": self._key_file,
            "drain_seconds": 0,
            "shards": 4,
            **changes,
        }
        return Settings(**values)

    async def replica(self, name: str = "a", **changes: Any) -> Replica:
        """Start a controller; agents and the proxy use the first one."""
        made = Replica(self.settings(name, **changes), self.machine, dict(self.others))
        await made.start()
        self.replicas.append(made)
        self.agents.endpoints.append(made.endpoint)
        if self._proxy_task is None:
            self._proxy_task = asyncio.create_task(self.proxy.run(made.settings.internal_listen))
        return made

    async def stop(self, replica: Replica) -> None:
        self.replicas.remove(replica)
        self.agents.endpoints.remove(replica.endpoint)
        await replica.stop()

    def cut_proxy(self) -> None:
        if self._proxy_task is not None:
            self._proxy_task.cancel()
            self._proxy_task = None

    def connect_proxy(self, replica: Replica) -> None:
        self.cut_proxy()
        self._proxy_task = asyncio.create_task(self.proxy.run(replica.settings.internal_listen))

    async def close(self) -> None:
        self.cut_proxy()
        await self.agents.close()
        for replica in self.replicas:
            await replica.stop()


@asynccontextmanager
async def site(directory: Path, redis_url: str) -> AsyncGenerator[Site]:
    made = Site(directory, redis_url)
    try:
        yield made
    finally:
        await made.close()
