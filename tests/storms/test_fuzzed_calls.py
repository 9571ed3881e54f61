"""Whatever is called with whatever content: nothing fails inside, nothing grows, and nobody else notices."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import tempfile
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import psutil
import pytest
from tests.e2e.conftest import write_users
from tests.e2e.running import Running, running
from tests.storms.calls import AGENTS, PUBLIC, Caller, Storm
from tests.storms.requests import Requests

from headrace import BasicAuth, Gateway, GatewayCluster
from headrace.v1 import (
    auth_service_pb2,
    auth_service_pb2_grpc,
    cluster_pb2,
    cluster_service_pb2,
    cluster_service_pb2_grpc,
)

CALLS = int(os.environ.get("HEADRACE_TEST_CALLS", "1500"))
SEED = int(os.environ.get("HEADRACE_TEST_SEED", "1"))
ONE_IN = 6  # of the calls is plain HTTP
SERVICES = ("headrace auth", "headrace controller", "headrace proxy", "envoy", "valkey")
GROWTH = 64 << 20
"""Bytes by which a service may grow after the first calls, however many follow."""

ENVIRONMENT = {
    # The limits of calls would refuse nearly all of them before anything reads them.
    **{
        f"HEADRACE_{service}_CALLS__{rate}": "1000000"
        for service in ("AUTH", "CONTROLLER")
        for rate in ("CHANGES_PER_SECOND", "AGENTS_PER_SECOND", "LOGINS_PER_SECOND", "STREAMS_PER_CLUSTER")
    },
    "HEADRACE_AUTH_TOKEN_SECONDS": "7200",  # as long as all of the calls may take
    # Each cluster that is created by chance is a real one.
    "HEADRACE_CONTROLLER_LIMITS__USER__CLUSTERS": "3",
    "HEADRACE_CONTROLLER_LIMITS__USER__WORKERS": "4",
}


USERS = {"ann": "correct horse", "bob": "battery staple", "eve": "tin foil hat"}
ROUND = 500
"""Calls after which the living clusters of the caller are found again: some calls stop them."""


@pytest.fixture
def headrace() -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="hr-storm-") as name:
        users = Path(name) / "users"
        write_users(users, USERS)
        options = ("--users-file", str(users), "--one-account")
        with running(Path(name), *options, environment=ENVIRONMENT) as headrace:
            yield headrace


@pytest.mark.timeout(1800)
async def test_fuzzed_calls_fail_nothing_and_reach_nobody_else(headrace: Running) -> None:
    """Ann calls everything, and so do a stranger and the code in a cluster of eve's. Bob computes."""
    with log_in(headrace, "bob") as bob, bob.new_cluster(name="bobs") as bobs, bobs.get_client() as client:
        await asyncio.to_thread(bobs.scale, 1)
        future = client.submit(sum, [1, 2, 3])
        await asyncio.to_thread(future.result, 60)
        async with followed(headrace, bobs.name) as watch:
            with log_in(headrace, "eve") as eve, eve.new_cluster(name="eves") as eves:
                agent = await asyncio.to_thread(agent_of, eves)
                await storm(headrace, bobs.name, agent)
            assert watch.cluster.generation == 2  # created, and scaled by him
            await asyncio.to_thread(bobs.scale, 2)
            await asyncio.to_thread(client.wait_for_workers, 2, 60)
            assert await watch.has(2), "bob's watch has not told of his second worker"
        assert await asyncio.to_thread(future.result, 60) == 6
        assert [report.name for report in bob.list_clusters()] == [bobs.name]
    with log_in(headrace, "ann") as ann:
        await asyncio.to_thread(ann.stop_all)


async def storm(headrace: Running, bobs: str, agent: Agent) -> None:
    ann = await access_token(headrace, "ann")
    before = {name: headrace.find(name).pid for name in SERVICES}
    fixed = ["scheduler", "ann", USERS["ann"], ann, agent.address, f"clusters/{agent.cluster}", f"clusters/{bobs}"]
    known = [*fixed]
    forged = (
        "",
        "x",
        "Bearer ",
        "Bearer a.b.c",
        f"Bearer {ann[:-3]}abc",
        "Basic YW5uOng=",
        f"Agent {agent.token[:-2]}",
    )
    calls = Storm(SEED, known, agent.address)
    requests = Requests(
        SEED, headrace.port, tls(headrace), [agent.cluster, bobs], [f"authorization: Bearer {ann}", f"cookie: x={ann}"]
    )
    async with AsyncExitStack() as stack:
        public = await stack.enter_async_context(channel(headrace))
        beside = await stack.enter_async_context(grpc.aio.insecure_channel(agent.endpoint))
        everything = [*PUBLIC, *AGENTS]
        callers = [
            Caller("ann", public, PUBLIC, [f"Bearer {ann}"]),
            Caller("ann", public, PUBLIC, [f"Bearer {ann}"]),
            Caller("nobody", public, everything, [None, *forged]),
            Caller("agent", beside, AGENTS, [f"Agent {agent.token}"]),
            Caller("agent", beside, everything, [f"Agent {agent.token}", f"Bearer {ann}", None, *forged]),
        ]
        small: dict[str, int] = {}
        for done in range(0, CALLS, ROUND):
            count = min(ROUND, CALLS - done)
            known[:] = [*fixed, *await living(public, ann)]
            http = count // ONE_IN
            await asyncio.gather(calls.rage(callers, count - http), requests.rage(http))
            if not small and done >= CALLS // 5:
                small = {name: memory(pid) for name, pid in before.items()}
    grown = {name: memory(pid) - small[name] for name, pid in before.items()}
    print(f"statuses: {calls.outcome.statuses} {requests.statuses}\ngrowth: {grown}")
    faults = [*calls.outcome.faults, *requests.faults, *faults_in_logs(headrace)]
    assert not faults, "\n".join(faults[:50])
    assert {name: headrace.find(name).pid for name in SERVICES} == before
    assert {name: bytes_ for name, bytes_ in grown.items() if bytes_ > GROWTH} == {}


def faults_in_logs(headrace: Running) -> list[str]:
    """Places in the services' logs that tell of a fault of ours, with what follows them."""
    marks = re.compile(r"^.*(?:Traceback|unexpected error|assert failure)(?:.*\n){1,60}", re.MULTILINE)
    return [
        f"{file.name}: {found[0][:6000]}"
        for file in sorted((headrace.data / "logs").iterdir())
        for found in marks.finditer(file.read_text(errors="replace"))
    ]


def memory(pid: int) -> int:
    return psutil.Process(pid).memory_info().rss


@contextmanager
def log_in(headrace: Running, user: str) -> Generator[Gateway]:
    local = headrace.gateway_file
    auth = BasicAuth(user, USERS[user])
    with Gateway(local["address"], auth=auth, tls_ca_file=local["ca_file"]) as gateway:
        yield gateway


@dataclass(frozen=True)
class Agent:
    """What a cluster's code finds: where its agent calls, with what, and where its scheduler listens."""

    cluster: str
    endpoint: str
    token: str
    address: str


def agent_of(cluster: GatewayCluster) -> Agent:
    """The credential of a scheduler's agent, read by code that runs beside it."""

    def find(dask_scheduler: Any) -> tuple[str, str, str]:
        import gc
        import os

        from headrace.agent.channel import ControllerChannel

        (found,) = [one for one in gc.get_objects() if isinstance(one, ControllerChannel)]
        token = found.metadata[0][1].removeprefix("Agent ")
        return os.environ["HEADRACE_AGENT_ENDPOINT"], token, dask_scheduler.address

    with cluster.get_client() as client:
        found: Any = client.run_on_scheduler(find)
        return Agent(cluster.name, *found)


def tls(headrace: Running) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=headrace.gateway_file["ca_file"])


def channel(headrace: Running) -> grpc.aio.Channel:
    ca = Path(headrace.gateway_file["ca_file"]).read_bytes()
    return grpc.aio.secure_channel(f"127.0.0.1:{headrace.port}", grpc.ssl_channel_credentials(ca))


async def access_token(headrace: Running, user: str) -> str:
    password = auth_service_pb2.PasswordCredential(username=user, password=USERS[user])
    async with channel(headrace) as public:
        stub: Any = auth_service_pb2_grpc.AuthServiceStub(public)
        answer = await stub.Login(auth_service_pb2.LoginRequest(password=password), timeout=60)
        return answer.access_token


async def living(public: grpc.aio.Channel, token: str) -> list[str]:
    """What there is of ann's: clusters, of which there is at least one, their versions, tokens of pages and watches."""
    metadata = (("authorization", f"Bearer {token}"),)
    stub: Any = cluster_service_pb2_grpc.ClusterServiceStub(public)
    with suppress(grpc.aio.AioRpcError):  # she has all that she may have
        spec = cluster_pb2.ClusterSpec(alias="mine")
        await stub.CreateCluster(cluster_service_pb2.CreateClusterRequest(spec=spec), metadata=metadata)
    found: list[str] = []
    watch = stub.WatchClusters(cluster_service_pb2.WatchClustersRequest(), metadata=metadata)
    async for response in watch:
        found += [response.resume_token, response.cluster.name, response.cluster.name, response.cluster.etag]
        if response.HasField("checkpoint"):
            break
    watch.cancel()
    request = cluster_service_pb2.ListClustersRequest(page_size=1)
    found.append((await stub.ListClusters(request, metadata=metadata)).next_page_token)
    return [text for text in found if text]


class Watch:
    """A watch that was opened before, and what it has told."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.cluster = cluster_pb2.Cluster()
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._follow())

    async def has(self, workers: int) -> bool:
        async with asyncio.timeout(60):
            while self._running() != workers and not self._task.done():
                self._news.clear()
                await self._news.wait()
        return not self._task.done()

    async def _follow(self) -> None:
        try:
            async for response in self._call:
                if response.HasField("cluster"):
                    self.cluster = response.cluster
                    self._news.set()
        finally:
            self._news.set()

    def _running(self) -> int:
        return sum(group.running for group in self.cluster.status.worker_groups)

    async def close(self) -> None:
        self._call.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def followed(headrace: Running, cluster: str) -> AsyncGenerator[Watch]:
    """A watch of bob's."""
    metadata = (("authorization", f"Bearer {await access_token(headrace, 'bob')}"),)
    async with channel(headrace) as public:
        stub: Any = cluster_service_pb2_grpc.ClusterServiceStub(public)
        request = cluster_service_pb2.WatchClustersRequest(name=f"clusters/{cluster}")
        watch = Watch(stub.WatchClusters(request, metadata=metadata))
        try:
            yield watch
        finally:
            await watch.close()
