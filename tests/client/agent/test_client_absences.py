"""Events of clients that are away, from a real scheduler whose listener takes sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from distributed import Scheduler
from tests.client.resumable.conftest import Bed, listening
from tests.conftest import Eventually

from headrace.agent import client_absences
from headrace.agent.client_absences import ClientAbsences
from headrace.agent.pending_reports import PendingReports
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2


@pytest.fixture
async def scheduler() -> AsyncIterator[Scheduler]:
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0") as scheduler:
        yield scheduler


@pytest.fixture
async def bed(scheduler: Scheduler) -> AsyncIterator[Bed]:
    async with listening(scheduler.handle_comm, grace=60) as bed:
        yield bed


@pytest.fixture
def pending(scheduler: Scheduler, bed: Bed, monkeypatch: pytest.MonkeyPatch) -> PendingReports:
    monkeypatch.setattr(client_absences, "_QUIET_SECONDS", 0.1)
    pending = PendingReports()
    ClientAbsences(scheduler, bed.table, pending)
    return pending


async def _register(bed: Bed, scheduler: Scheduler, eventually: Eventually) -> Any:
    comm = await bed.connect()
    await comm.write({"op": "register-client", "client": "Client-1", "reply": False, "versions": {}})
    await comm.read()
    await eventually(lambda: "Client-1" in scheduler.clients)
    return comm


def _take(pending: PendingReports, events: list[pb.AgentEvent]) -> list[pb.AgentEvent]:
    events.extend(request.event for request in pending.take() if request.HasField("event"))
    return events


async def test_a_client_that_is_away_and_back_is_reported(
    scheduler: Scheduler, bed: Bed, pending: PendingReports, eventually: Eventually
) -> None:
    comm = await _register(bed, scheduler, eventually)
    events: list[pb.AgentEvent] = []
    await bed.proxy.stop()
    await eventually(lambda: len(_take(pending, events)) == 1)
    assert events[0].type == cluster_pb2.EVENT_TYPE_CLIENT_AWAY
    assert events[0].message == "Client Client-1 lost its connection; its 0 futures are kept for 60 s."
    assert "Client-1" in scheduler.clients
    await bed.proxy.start()
    await eventually(lambda: len(_take(pending, events)) == 2)
    assert events[1].type == cluster_pb2.EVENT_TYPE_CLIENT_BACK
    assert events[1].message.startswith("Client Client-1 is connected again after ")
    await comm.close()


async def test_a_short_interruption_is_no_news(
    scheduler: Scheduler, bed: Bed, pending: PendingReports, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_absences, "_QUIET_SECONDS", 60)
    comm = await _register(bed, scheduler, eventually)
    bed.proxy.cut()
    await eventually(lambda: bed.dials == 2 and comm.session.connected)
    await comm.close()
    await eventually(lambda: "Client-1" not in scheduler.clients)
    assert _take(pending, []) == []
