"""The streams of processes in standby: what they hear, and how many there may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from tests.conftest import Eventually

from headrace.errors import SessionReplaced, StoreUnavailable, TokenInvalid, TooManyRequests
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace_chassis.identity.caller import AgentCaller
from headrace_controller.agents.standbys import Standbys
from headrace_controller.backends.base import Assignment, BackendError
from headrace_controller.backends.process import ProcessKey, Role

GIVEN = Assignment(key=ProcessKey("c1", "w-1"), role=Role.WORKER, generation=7)


@dataclass
class Backend:
    """Gives processes away when a test does; `waits` are those that wait."""

    waits: dict[str, list[asyncio.Future[Assignment]]] = field(
        default_factory=dict[str, "list[asyncio.Future[Assignment]]"]
    )
    refusal: Exception | None = None

    async def stand_by(self, launch: str) -> Assignment:
        if self.refusal:
            raise self.refusal
        waiting = asyncio.get_running_loop().create_future()
        self.waits.setdefault(launch, []).append(waiting)
        return await waiting


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def standbys(backend: Backend) -> Standbys:
    return Standbys(backend, maximum=3)


def stream(standbys: Standbys, launch: str = "uid-1", cluster: str = "") -> AsyncIterator[pb.StandbyResponse]:
    return aiter(standbys.serve(AgentCaller(cluster, "w-1" if cluster else "", launch)))


async def test_a_process_hears_at_once_that_it_waits_and_later_what_it_becomes(
    standbys: Standbys, backend: Backend, eventually: Eventually
) -> None:
    answers = stream(standbys)
    assert await anext(answers) == pb.StandbyResponse()
    last = asyncio.ensure_future(anext(answers))
    await eventually(lambda: backend.waits)
    assert not last.done()
    backend.waits["uid-1"][0].set_result(GIVEN)
    assert await last == pb.StandbyResponse(cluster="c1", process="w-1", role=pb.PROCESS_ROLE_WORKER, generation=7)
    assert await anext(answers, None) is None


async def test_a_newer_stream_of_a_process_ends_the_older_one(
    standbys: Standbys, backend: Backend, eventually: Eventually
) -> None:
    older, newer = stream(standbys), stream(standbys)
    await anext(older)
    waits = asyncio.ensure_future(anext(older))
    await eventually(lambda: backend.waits)
    await anext(newer)
    with pytest.raises(SessionReplaced):
        await waits
    last = asyncio.ensure_future(anext(newer))
    await eventually(lambda: len(backend.waits["uid-1"]) == 2)
    assert backend.waits["uid-1"][0].cancelled()
    backend.waits["uid-1"][1].set_result(GIVEN)
    assert (await last).cluster == "c1"


async def test_a_stream_that_breaks_waits_no_more(standbys: Standbys, backend: Backend, eventually: Eventually) -> None:
    answers = stream(standbys)
    await anext(answers)
    waits = asyncio.ensure_future(anext(answers))
    await eventually(lambda: backend.waits)
    waits.cancel()
    await eventually(backend.waits["uid-1"][0].cancelled)


async def test_only_so_many_wait_with_one_replica(standbys: Standbys) -> None:
    open_streams = [stream(standbys, f"uid-{number}") for number in range(3)]
    for answers in open_streams:
        await anext(answers)
    with pytest.raises(TooManyRequests, match="3 processes"):
        await anext(stream(standbys, "uid-3"))
    assert await anext(stream(standbys, "uid-2")) == pb.StandbyResponse()  # instead of its older stream


@pytest.mark.parametrize(
    ("refusal", "error"),
    [(BackendError("the API server is away"), StoreUnavailable), (TokenInvalid("it is none in standby"), TokenInvalid)],
)
async def test_what_the_backend_refuses_is_told(
    standbys: Standbys, backend: Backend, refusal: Exception, error: type[Exception]
) -> None:
    backend.refusal = refusal
    answers = stream(standbys)
    await anext(answers)
    with pytest.raises(error):
        await anext(answers)


async def test_the_credential_of_an_enrolled_process_waits_for_nothing(standbys: Standbys) -> None:
    with pytest.raises(TokenInvalid):
        await anext(stream(standbys, launch="", cluster="c1"))
