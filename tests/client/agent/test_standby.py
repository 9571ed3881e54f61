"""``python -m headrace.agent --standby``: ready before it is known what for."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.client.agent.plain_processes import log_of, run
from tests.client.agent.running import Cluster

from headrace.agent.channel import ControllerChannel
from headrace.agent.enrollment import NotEnrolled, enroll
from headrace.agent.identity import move_token_to_file
from headrace.agent.process import Assigned
from headrace.agent.standby import until_ended, wait_for_cluster
from headrace.errors import TokenInvalid
from headrace.internal.v1 import agent_service_pb2 as pb

SCHEDULER, WORKER = pb.PROCESS_ROLE_SCHEDULER, pb.PROCESS_ROLE_WORKER


@dataclass
class Standby:
    """A process in standby, and the file with its platform's token."""

    process: asyncio.subprocess.Process
    token: str
    file: Path

    async def log(self) -> str:
        return await log_of(self.process)


Start = Callable[..., Awaitable[Standby]]


@pytest.fixture
async def start(cluster: Cluster) -> AsyncIterator[Start]:
    """Starts a process in standby of a role, and waits until it is ready."""
    started: list[Standby] = []
    cluster.controller.credential = "of an enrolled process"

    async def start(role: str, name: str = "") -> Standby:
        token, file = f"header.{name or role}.signature", cluster.directory / f"{name or role}.token"
        cluster.controller.platform_tokens.add(token)
        nobody = replace(cluster.identity(role), cluster="", process="", role=role, generation=0, token=token)
        environment = nobody.to_environment()
        move_token_to_file(environment, file)
        process = await run(cluster, role, "--standby", given=environment)
        started.append(Standby(process, token, file))
        return started[-1]

    yield start
    for one in started:
        if one.process.returncode is None:
            one.process.kill()
            await one.log()


async def ready(cluster: Cluster, *standbys: Standby) -> None:
    await cluster.eventually(lambda: all(one.token in cluster.controller.standing_by for one in standbys), within=60)


async def test_a_scheduler_and_a_worker_from_standby_compute_and_one_that_is_not_needed_ends(
    cluster: Cluster, start: Start
) -> None:
    scheduler, worker, spare = await start("scheduler"), await start("worker"), await start("scheduler", "spare")
    await ready(cluster, scheduler, worker, spare)
    assert cluster.controller.enrolled == []
    spare.process.send_signal(signal.SIGTERM)
    log = await spare.log()
    assert spare.process.returncode == 0, log
    cluster.controller.enrollment.environment["MINE"] = "yes"
    give(cluster, scheduler.token, "scheduler", SCHEDULER)
    await cluster.eventually(lambda: cluster.controller.state.hellos, within=60)
    give(cluster, worker.token, "default-1-abc234", WORKER)
    await cluster.eventually(lambda: "default-1-abc234" in cluster.controller.state.workers, within=60)
    assert cluster.controller.enrolled_with == [f"Agent {scheduler.token}", f"Agent {worker.token}"]
    async with cluster.connect() as client:
        assert await client.submit(os.getenv, "MINE") == "yes"
        assert await client.submit(os.getenv, "HEADRACE_AGENT_TOKEN_FILE") is None
    for one in (worker, scheduler):
        one.process.send_signal(signal.SIGTERM)
        log = await one.log()
        assert one.process.returncode == 0, log
        assert "start cold" not in log


async def waiting(cluster: Cluster, read_token: Callable[[], str]) -> asyncio.Task[Assigned]:
    """In this process: waits on its stream as a scheduler."""
    identity = replace(cluster.identity("scheduler"), cluster="", process="", generation=0)
    cluster.controller.platform_tokens.add(read_token())
    return asyncio.create_task(wait_for_cluster(identity, read_token))


def give(cluster: Cluster, token: str, name: str, role: pb.ProcessRole.ValueType) -> None:
    assignment = cluster.controller.standing_by.pop(token)
    assignment.set_result(pb.StandbyResponse(cluster="c1", process=name, role=role, generation=7))


async def test_it_opens_another_stream_with_a_renewed_token(cluster: Cluster) -> None:
    tokens = ["h.first.s"]
    task = await waiting(cluster, lambda: tokens[-1])
    await cluster.eventually(lambda: "h.first.s" in cluster.controller.standing_by)
    cluster.controller.platform_tokens = {"h.renewed.s"}
    tokens.append("h.renewed.s")  # before the stream ends, as it is read for each attempt
    await cluster.controller.stop()
    await cluster.controller.start()
    await cluster.eventually(lambda: "h.renewed.s" in cluster.controller.standing_by)
    give(cluster, "h.renewed.s", "scheduler", SCHEDULER)
    given, channel = await task
    assert given == replace(cluster.identity("scheduler"), generation=7, token="h.renewed.s")
    # By the connection of its stream: another controller may not know yet whose it is.
    await enroll(channel, given)
    assert cluster.controller.enrolled_with == ["Agent h.renewed.s"]
    await channel.close()


async def test_it_says_why_it_cannot_wait(cluster: Cluster) -> None:
    cluster.controller.refusal = TokenInvalid("the pod's token is for another audience")
    with pytest.raises(NotEnrolled, match=r"cannot wait in standby.*another audience"):
        await (await waiting(cluster, lambda: "h.first.s"))


async def test_it_becomes_only_what_it_is_prepared_as(cluster: Cluster) -> None:
    task = await waiting(cluster, lambda: "h.first.s")
    await cluster.eventually(lambda: "h.first.s" in cluster.controller.standing_by)
    give(cluster, "h.first.s", "default-1-abc234", WORKER)
    with pytest.raises(NotEnrolled, match="prepared as a scheduler, and was given another role"):
        await task


async def test_one_that_is_told_to_end_as_it_is_given_to_a_cluster_ends(cluster: Cluster) -> None:
    identity = cluster.identity("scheduler")
    channel = ControllerChannel(identity)
    before = signal.getsignal(signal.SIGTERM)

    async def given() -> Assigned:
        await cluster.eventually(lambda: signal.getsignal(signal.SIGTERM) != before)
        handler = signal.getsignal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        while signal.getsignal(signal.SIGTERM) == handler:  # noqa: ASYNC110 until the loop has noticed
            await asyncio.sleep(0)
        return identity, channel

    assert await until_ended(given()) is None
    await channel.close()
    signal.signal(signal.SIGTERM, before)
