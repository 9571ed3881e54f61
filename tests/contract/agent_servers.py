"""Servers with AgentService, real and fake: with one cluster, of which a scheduler and a worker are to start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.client.agent.fake_controller import TOKEN, FakeController
from tests.conftest import Eventually
from tests.controller.running import DEPLOYMENT, site

from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_chassis.identity.seal import read_deployment_keys


@dataclass(frozen=True)
class AgentServer:
    """A server with one cluster.

    `credential` is that of a process that has enrolled; `adapt` sets the group "default" to adaptive scaling between
    two numbers of workers; `end` ends the cluster.
    """

    endpoint: str
    credential: Callable[[str], str]
    adapt: Callable[[int, int], Awaitable[None]]
    end: Callable[[], Awaitable[None]]
    worker: Callable[[], Awaitable[str]]

    def metadata(self, process: str = "scheduler") -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Agent {self.credential(process)}"),)


async def real(stack: AsyncExitStack, directory: Path, redis_url: str, eventually: Eventually) -> AgentServer:
    deployment = await stack.enter_async_context(site(directory, redis_url))
    deployment.agents.automatic = False
    replica = await deployment.replica()
    ann = await replica.user("ann")
    made = await ann.create(worker_groups=[cluster_pb2.WorkerGroup(name="default", size=1)])
    cluster = made.name.removeprefix("clusters/")
    await eventually(lambda: "scheduler" in deployment.machine.names(cluster))

    async def adapt(minimum: int, maximum: int) -> None:
        await ann.adapt(made.name, cluster_pb2.AdaptRange(minimum=minimum, maximum=maximum))

    async def end() -> None:
        await ann.stop(made.name)

    async def worker() -> str:
        def workers() -> list[str]:
            return [name for name in deployment.machine.names(cluster) if name != "scheduler"]

        await eventually(workers)
        return workers()[0]

    tokens = AgentTokens(read_deployment_keys(deployment.directory / "key"), DEPLOYMENT)

    def credential(process: str) -> str:
        return tokens.credential(cluster, process, 3600)

    return AgentServer(replica.endpoint, credential, adapt, end, worker)


async def fake(stack: AsyncExitStack, directory: Path) -> AgentServer:
    controller = FakeController(f"{directory}/s")
    await controller.start()
    stack.push_async_callback(controller.stop)

    async def adapt(minimum: int, maximum: int) -> None:
        group = pb.AdaptiveGroup(group="default", minimum=minimum, maximum=maximum, desired=minimum)
        controller.instruct(pb.SessionResponse(adaptive_groups=[group]))

    async def end() -> None:
        controller.end()

    async def worker() -> str:
        return "default-1-abc234"

    return AgentServer(controller.endpoint, lambda _process: TOKEN, adapt, end, worker)
