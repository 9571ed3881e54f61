"""The streams of processes in standby: what they hear, and how many there may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.backends.fake_standby import FakeStandbyBackend, StandbyMachine
from tests.backends.standby_contract import pattern, process
from tests.conftest import Eventually

from headrace.errors import SessionReplaced, StoreUnavailable, TokenInvalid, TooManyRequests
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace_chassis.identity.caller import AgentCaller
from headrace_controller.agents.standbys import Standbys
from headrace_controller.backends.process import Role


@pytest.fixture
async def machine() -> StandbyMachine:
    """Four workers are in standby."""
    machine = StandbyMachine()
    machine.wanted = {Role.WORKER: 4}
    machine.keep([pattern(Role.WORKER)])
    return machine


@pytest.fixture
def launches(machine: StandbyMachine) -> list[str]:
    return machine.in_standby(Role.WORKER)


@pytest.fixture
def backend(machine: StandbyMachine) -> FakeStandbyBackend:
    return FakeStandbyBackend(machine)


@pytest.fixture
def standbys(backend: FakeStandbyBackend) -> Standbys:
    return Standbys(backend, maximum=3)


def stream(standbys: Standbys, launch: str, cluster: str = "") -> AsyncIterator[pb.StandbyResponse]:
    return aiter(standbys.serve(AgentCaller(cluster, "w-1" if cluster else "", launch)))


async def test_a_process_hears_at_once_that_it_waits_and_later_what_it_becomes(
    standbys: Standbys,
    backend: FakeStandbyBackend,
    launches: list[str],
    machine: StandbyMachine,
    eventually: Eventually,
) -> None:
    answers = stream(standbys, launches[0])
    assert await anext(answers) == pb.StandbyResponse()
    last = asyncio.ensure_future(anext(answers))
    await eventually(lambda: machine.standbys[launches[0]].streams)
    assert not last.done()
    await backend.start([process("c1", "w-1")])
    assert await last == pb.StandbyResponse(cluster="c1", process="w-1", role=pb.PROCESS_ROLE_WORKER, generation=3)
    assert await anext(answers, None) is None


async def test_a_newer_stream_of_a_process_ends_the_older_one(
    standbys: Standbys,
    backend: FakeStandbyBackend,
    launches: list[str],
    machine: StandbyMachine,
    eventually: Eventually,
) -> None:
    older, newer = stream(standbys, launches[0]), stream(standbys, launches[0])
    await anext(older)
    waits = asyncio.ensure_future(anext(older))
    await eventually(lambda: machine.standbys[launches[0]].streams)
    await anext(newer)
    with pytest.raises(SessionReplaced):
        await waits
    last = asyncio.ensure_future(anext(newer))
    await eventually(lambda: machine.standbys[launches[0]].streams == 1)
    await backend.start([process("c1", "w-1")])
    assert (await last).cluster == "c1"


async def test_a_stream_that_breaks_waits_no_more(
    standbys: Standbys, launches: list[str], machine: StandbyMachine, eventually: Eventually
) -> None:
    answers = stream(standbys, launches[0])
    await anext(answers)
    waits = asyncio.ensure_future(anext(answers))
    await eventually(lambda: machine.standbys[launches[0]].streams)
    waits.cancel()
    await eventually(lambda: machine.standbys[launches[0]].streams == 0)


async def test_only_so_many_wait_with_one_replica(standbys: Standbys, launches: list[str]) -> None:
    open_streams = [stream(standbys, launch) for launch in launches[:3]]
    for answers in open_streams:
        await anext(answers)
    with pytest.raises(TooManyRequests, match="3 processes"):
        await anext(stream(standbys, launches[3]))
    assert await anext(stream(standbys, launches[2])) == pb.StandbyResponse()  # instead of its older stream


@pytest.mark.parametrize(("trouble", "error"), [("the API server is away", StoreUnavailable), ("", TokenInvalid)])
async def test_what_the_backend_refuses_is_told(
    standbys: Standbys, machine: StandbyMachine, trouble: str, error: type[Exception]
) -> None:
    machine.trouble = trouble
    answers = stream(standbys, "of nobody")
    await anext(answers)
    with pytest.raises(error):
        await anext(answers)


async def test_the_credential_of_an_enrolled_process_waits_for_nothing(standbys: Standbys) -> None:
    with pytest.raises(TokenInvalid):
        await anext(stream(standbys, launch="", cluster="c1"))
