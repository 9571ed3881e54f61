"""Servers with AgentService, real and fake: with one cluster, of which a scheduler and a worker are to start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.client.agent.fake_controller import TOKEN, FakeController
from tests.conftest import Eventually
from tests.controller.agents.fake_agents import credentials
from tests.controller.running import site

from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2


@dataclass(frozen=True)
class AgentServer:
    """`adapt` sets the group "default" to adaptive scaling between two numbers of workers; `end` ends the cluster."""

    endpoint: str
    metadata: tuple[tuple[str, str], ...]
    adapt: Callable[[int, int], Awaitable[None]]
    end: Callable[[], Awaitable[None]]
    worker: Callable[[], Awaitable[str]]


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

    spec = deployment.machine.specs[cluster, "scheduler"]
    return AgentServer(replica.endpoint, credentials(spec), adapt, end, worker)


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

    return AgentServer(controller.endpoint, (("authorization", f"Agent {TOKEN}"),), adapt, end, worker)
