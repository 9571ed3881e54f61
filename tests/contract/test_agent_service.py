"""AgentService: enrolment, and the session of a scheduler's agent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from redis.asyncio import Redis
from tests.conftest import Eventually
from tests.contract import agent_servers
from tests.contract.agent_servers import AgentServer
from tests.controller.errors_of import fails, wrong_fields
from tests.controller.stubs import agent_service

from headrace.errors import ClusterEnded, SessionReplaced, TokenInvalid, WorkerNotFound
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2

if TYPE_CHECKING:
    from headrace.internal.v1.agent_service_pb2_grpc import AgentServiceAsyncStub

SCHEDULER, WORKER = pb.PROCESS_ROLE_SCHEDULER, pb.PROCESS_ROLE_WORKER
ADDRESS = "tls://127.0.0.1:40000"


@pytest.fixture(params=["real", "fake"])
async def server(
    request: pytest.FixtureRequest, directory: Path, redis_url: str, redis: Redis, eventually: Eventually
) -> AsyncIterator[AgentServer]:
    _ = redis  # flushed
    async with AsyncExitStack() as stack:
        if request.param == "real":
            yield await agent_servers.real(stack, directory, redis_url, eventually)
        else:
            yield await agent_servers.fake(stack, directory)


@pytest.fixture
async def stub(server: AgentServer) -> AsyncIterator[AgentServiceAsyncStub]:
    async with grpc.aio.insecure_channel(server.endpoint) as channel:
        yield agent_service(channel)


class Agent:
    """The agent's side of a session."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._sequence = 0

    async def read(self) -> pb.SessionResponse:
        response = await self._call.read()
        if response is not grpc.aio.EOF:
            response.ClearField("guests")  # tests of sharing are about them
        return response

    async def read_until(self, wanted: pb.SessionResponse) -> None:
        while await self.read() != wanted:
            pass

    async def send(self, **report: Any) -> None:
        self._sequence += 1
        await self._call.write(pb.SessionRequest(sequence=self._sequence, **report))

    async def close(self) -> None:
        await self._call.done_writing()


@asynccontextmanager
async def opened(
    server: AgentServer, stub: AgentServiceAsyncStub, number: int = 1, *workers: pb.JoinedWorker
) -> AsyncGenerator[Agent]:
    """A session that has sent its hello."""
    call = stub.Session(metadata=server.metadata())
    agent = Agent(call)
    async with asyncio.timeout(60):
        await agent.send(hello=pb.SchedulerHello(session=number, scheduler_address=ADDRESS, workers=workers))
        yield agent
    call.cancel()


async def enrol(
    server: AgentServer, stub: AgentServiceAsyncStub, process: str, role: pb.ProcessRole.ValueType = WORKER
) -> pb.EnrollResponse:
    request = pb.EnrollRequest(role=role, process=process)
    return await stub.Enroll(request, metadata=server.metadata(process), timeout=30)


# Enroll


async def test_a_process_receives_a_certificate_of_its_clusters_authority(
    server: AgentServer, stub: AgentServiceAsyncStub
) -> None:
    enrolled = await enrol(server, stub, "scheduler", SCHEDULER)
    authority = x509.load_pem_x509_certificate(enrolled.ca_pem.encode())
    leaf = x509.load_pem_x509_certificate(enrolled.certificate_pem.encode())
    leaf.verify_directly_issued_by(authority)
    key = load_pem_private_key(enrolled.private_key_pem.encode(), None)
    assert key.public_key() == leaf.public_key()
    assert time.time() < enrolled.expire_time.seconds <= leaf.not_valid_after_utc.timestamp()
    assert (enrolled.listen_host, enrolled.scheduler_address) == ("127.0.0.1", "")
    again = await enrol(server, stub, "scheduler", SCHEDULER)
    assert (again.ca_pem, again.certificate_pem == enrolled.certificate_pem) == (enrolled.ca_pem, False)


async def test_a_worker_learns_the_address_that_the_scheduler_has_reported(
    server: AgentServer, stub: AgentServiceAsyncStub
) -> None:
    async with opened(server, stub) as agent:
        await agent.read()
        worker = await server.worker()
        enrolled = await enrol(server, stub, worker)
        assert enrolled.scheduler_address == ADDRESS
        assert (enrolled.worker_threads, enrolled.worker_memory_bytes > 0) == (1, True)


async def test_an_unknown_process_is_refused(server: AgentServer, stub: AgentServiceAsyncStub) -> None:
    await fails(WorkerNotFound, enrol(server, stub, "default-1-abc234"))  # workers start after the scheduler's report
    await fails(WorkerNotFound, enrol(server, stub, "boss", SCHEDULER))
    await fails(WorkerNotFound, enrol(server, stub, "scheduler", WORKER))


async def test_only_the_token_of_the_cluster_is_accepted(server: AgentServer, stub: AgentServiceAsyncStub) -> None:
    request = pb.EnrollRequest(role=SCHEDULER, process="scheduler")
    for metadata in ((), (("authorization", "Agent forged"),)):
        await fails(TokenInvalid, stub.Enroll(request, metadata=metadata, timeout=30))
        await fails(TokenInvalid, stub.Session(metadata=metadata).read())


async def test_of_an_ended_cluster_nothing_enrols(server: AgentServer, stub: AgentServiceAsyncStub) -> None:
    await server.end()
    await fails(ClusterEnded, enrol(server, stub, "scheduler", SCHEDULER))


# Session


@pytest.mark.parametrize(
    "first",
    [
        [],
        [pb.SessionRequest(sequence=1)],
        [pb.SessionRequest(sequence=1, change=pb.SchedulerChange())],
        [pb.SessionRequest(sequence=1, hello=pb.SchedulerHello(scheduler_address=ADDRESS))],
    ],
)
async def test_a_session_starts_with_a_numbered_hello(
    server: AgentServer, stub: AgentServiceAsyncStub, first: list[pb.SessionRequest]
) -> None:
    assert await wrong_fields(stub.Session(iter(first), metadata=server.metadata()).read()) == {"hello"}


async def test_a_hello_is_answered_with_all_instructions(server: AgentServer, stub: AgentServiceAsyncStub) -> None:
    async with opened(server, stub) as agent:
        assert await agent.read() == pb.SessionResponse()


async def test_instructions_are_sent_whole_when_they_change(server: AgentServer, stub: AgentServiceAsyncStub) -> None:
    expected = pb.SessionResponse(
        adaptive_groups=[pb.AdaptiveGroup(group="default", minimum=2, maximum=3, desired=2)],
    )
    async with opened(server, stub) as agent:
        await agent.read()
        await server.adapt(2, 3)
        await agent.read_until(expected)
    async with opened(server, stub, 2) as agent:
        assert await agent.read() == expected


async def test_an_ended_cluster_is_told_to_stop(server: AgentServer, stub: AgentServiceAsyncStub) -> None:
    async with opened(server, stub) as agent:
        await agent.read()
        await server.end()
        await agent.read_until(pb.SessionResponse(stop=True))


async def test_reports_of_all_kinds_are_accepted(server: AgentServer, stub: AgentServiceAsyncStub) -> None:
    async with opened(server, stub) as agent:
        await agent.read()
        worker = await server.worker()
        joined = pb.JoinedWorker(process=worker, address="tls://127.0.0.1:50000")
        await agent.send(change=pb.SchedulerChange(joined=[joined], activity=pb.Activity(clients=1)))
        await agent.send(scale_request=pb.ScaleRequest(group="default", size=2))
        delayed, severity = cluster_pb2.EVENT_TYPE_RETIREMENT_DELAYED, cluster_pb2.SEVERITY_WARNING
        await agent.send(event=pb.AgentEvent(type=delayed, severity=severity, message="it waits"))
        await agent.send(change=pb.SchedulerChange(left=[pb.LeftWorker(process=worker, tasks_lost=1)]))
        await agent.close()
        while await agent.read() is not grpc.aio.EOF:
            pass  # what it is told meanwhile


async def test_the_end_of_the_scheduler_is_acknowledged_by_the_end_of_its_session(
    server: AgentServer, stub: AgentServiceAsyncStub
) -> None:
    async with opened(server, stub) as agent:
        await agent.read()
        await agent.send(closing=pb.SchedulerClosing(reason=cluster_pb2.END_REASON_IDLE))
        await agent.close()
        while (answer := await agent.read()) is not grpc.aio.EOF:
            assert answer.stop  # the cluster has ended in the meantime


async def test_the_newest_session_replaces_all_others(server: AgentServer, stub: AgentServiceAsyncStub) -> None:
    async with opened(server, stub, 10) as first:
        await first.read()
        async with opened(server, stub, 11) as second:
            await second.read()
            await fails(SessionReplaced, first.read())
            async with opened(server, stub, 9) as late:
                await fails(SessionReplaced, late.read())
            await server.adapt(2, 3)
            while not (await second.read()).adaptive_groups:
                pass
