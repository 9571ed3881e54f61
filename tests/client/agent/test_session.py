"""The stream to the controller: controllers come and go, the scheduler stays."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
import pytest
from tests.client.agent import tasks
from tests.client.agent.fake_controller import TOKEN, FakeController
from tests.client.agent.running import Cluster
from tests.conftest import Eventually

from headrace.agent import session as session_module
from headrace.agent.channel import ControllerChannel
from headrace.agent.identity import Identity
from headrace.agent.pending_reports import Departure, PendingReports
from headrace.agent.session import Outcome, Session
from headrace.errors import ClusterNotFound
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2


async def test_work_continues_while_no_controller_answers(cluster: Cluster) -> None:
    scheduler = await cluster.start_scheduler()
    await cluster.start_workers()
    state = cluster.controller.state
    async with cluster.connect() as client:
        future = client.submit(tasks.sleep, 1.5, 7)
        await cluster.controller.stop()
        assert await future == 7
        state.workers.clear()
        await cluster.controller.start()
        await cluster.eventually(lambda: len(state.hellos) == 2)
        assert list(state.workers) == ["default-1-abc234"]
        assert state.hellos[1].session > state.hellos[0].session
    assert scheduler.code is None


async def test_changes_while_no_controller_answered_are_reported_afterwards(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    [agent] = await cluster.start_workers()
    state = cluster.controller.state
    await cluster.controller.stop()
    agent.kill()
    await cluster.eventually(lambda: agent.code is not None)
    await cluster.controller.start()
    await cluster.eventually(lambda: len(state.hellos) == 2)
    await cluster.eventually(lambda: not state.workers)


@pytest.fixture
async def channel(controller: FakeController) -> AsyncIterator[ControllerChannel]:
    channel = ControllerChannel(
        Identity(
            deployment="test",
            cluster="c1",
            process="scheduler",
            role="scheduler",
            generation=1,
            endpoint=controller.endpoint,
            token=TOKEN,
        )
    )
    yield channel
    await channel.close()


@contextlib.asynccontextmanager
async def _running(session: Session) -> AsyncGenerator[asyncio.Task[Outcome]]:
    task = asyncio.create_task(session.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _session(channel: ControllerChannel, pending: PendingReports, gone_seconds: float = 60) -> Session:
    hello = pb.SchedulerHello(scheduler_address="tls://127.0.0.1:1")
    return Session(channel, pending, lambda: hello, lambda _: None, enrolment=7, gone_seconds=gone_seconds)


async def test_sessions_are_numbered_by_the_enrolment_and_by_no_clock(
    controller: FakeController, channel: ControllerChannel, eventually: Eventually
) -> None:
    async with _running(_session(channel, PendingReports())):
        for count in (1, 2, 3):
            await eventually(lambda: len(controller.state.hellos) == count)  # noqa: B023 awaited here
            controller.end_sessions()  # one that is away could be asked, and each attempt has a number of its own
    assert [hello.session - (7 << 32) for hello in controller.state.hellos[:3]] == [1, 2, 3]


def test_without_a_number_of_the_enrolment_a_clock_that_goes_back_changes_nothing(channel: ControllerChannel) -> None:
    hello = pb.SchedulerHello()
    session = Session(channel, PendingReports(), lambda: hello, lambda _: None, enrolment=0)
    session.number = tomorrow = time.time_ns() + 86400 * 10**9
    assert session.next_number() == tomorrow + 1


async def test_messages_are_numbered_from_one(
    controller: FakeController, channel: ControllerChannel, eventually: Eventually
) -> None:
    pending = PendingReports()
    async with _running(_session(channel, pending)):
        await eventually(lambda: controller.state.hellos)
        pending.add_joined("default-1-abc234", "tls://127.0.0.1:2")
        pending.add_event(cluster_pb2.EVENT_TYPE_RETIREMENT_DELAYED, cluster_pb2.SEVERITY_WARNING, "it waits")
        await eventually(lambda: controller.state.events)
    assert controller.state.sequences == [1, 2, 3]


async def test_a_quiet_event_loop_sends_heartbeats(
    controller: FakeController, channel: ControllerChannel, eventually: Eventually
) -> None:
    hello = pb.SchedulerHello(scheduler_address="tls://127.0.0.1:1")
    session = Session(channel, PendingReports(), lambda: hello, lambda _: None, enrolment=7, heartbeat_seconds=0.02)
    async with _running(session):
        await eventually(lambda: controller.state.heartbeats >= 3)
    assert controller.state.hellos[0].heartbeat_seconds == 0.02


async def test_a_record_that_is_permanently_gone_ends_the_session(
    controller: FakeController, channel: ControllerChannel
) -> None:
    controller.session_refusal = ClusterNotFound("no cluster c1")
    async with _running(_session(channel, PendingReports(), gone_seconds=0.3)) as task:
        assert await asyncio.wait_for(asyncio.shield(task), 30) is Outcome.CLUSTER_GONE


async def test_a_record_that_comes_back_in_time_gets_a_session(
    controller: FakeController, channel: ControllerChannel, eventually: Eventually
) -> None:
    controller.session_refusal = ClusterNotFound("no cluster c1")
    async with _running(_session(channel, PendingReports(), gone_seconds=60)) as task:
        await eventually(lambda: controller.refused >= 2)
        controller.session_refusal = None
        await eventually(lambda: controller.state.hellos)
        assert not task.done()


async def test_a_leftover_does_not_take_the_cluster_from_its_newer_scheduler(
    controller: FakeController, channel: ControllerChannel, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_REPLACED_PAUSE_SECONDS", 0.01)
    controller.session_refusal = grpc.StatusCode.ABORTED
    session = _session(channel, PendingReports())
    async with _running(session) as task:
        await eventually(lambda: controller.refused)
        number = session.number
        await eventually(lambda: controller.refused >= 3)
        assert session.number == number
        assert not task.done()


async def test_retirements_are_reported_again_after_a_reconnect(
    controller: FakeController, channel: ControllerChannel, eventually: Eventually
) -> None:
    pending = PendingReports()
    async with _running(_session(channel, pending)):
        await eventually(lambda: controller.state.hellos)
        pending.add_left("default-1-abc234", retired=True)
        await eventually(lambda: controller.state.retired)
        controller.state.retired.clear()
        await controller.stop()
        await controller.start()
        await eventually(lambda: controller.state.retired == {"default-1-abc234"})


@pytest.mark.parametrize("kind", ["change", "event"])
async def test_what_is_being_written_as_a_session_ends_is_reported_in_the_next(
    controller: FakeController,
    channel: ControllerChannel,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    open_session: Any = channel.stub.Session
    writing = asyncio.Event()

    def open_with_slow_writing(**arguments: object) -> Any:
        call = open_session(**arguments)
        write = call.write

        async def write_late(request: pb.SessionRequest) -> None:
            if request.WhichOneof("report") == kind and not writing.is_set():
                writing.set()
                await asyncio.Event().wait()
            await write(request)

        monkeypatch.setattr(call, "write", write_late)
        return call

    monkeypatch.setattr(channel.stub, "Session", open_with_slow_writing)
    pending, state = PendingReports(), controller.state
    async with _running(_session(channel, pending)):
        await eventually(lambda: state.hellos)
        pending.add_left("default-1-abc234", Departure(tasks=2))
        pending.add_event(cluster_pb2.EVENT_TYPE_RETIREMENT_DELAYED, cluster_pb2.SEVERITY_WARNING, "it waits")
        await eventually(writing.is_set)
        controller.end_sessions()
        await eventually(lambda: state.events)
    assert state.left["default-1-abc234"].tasks_lost == 2
    assert [event.message for event in state.events] == ["it waits"]


async def test_the_end_of_the_scheduler_is_acknowledged_by_the_end_of_the_session(
    controller: FakeController, channel: ControllerChannel, eventually: Eventually
) -> None:
    pending = PendingReports()
    async with _running(_session(channel, pending)) as task:
        await eventually(lambda: controller.state.hellos)
        pending.set_closing(cluster_pb2.END_REASON_IDLE)
        assert await asyncio.wait_for(asyncio.shield(task), 30) is Outcome.CLOSING_ACKNOWLEDGED
    assert controller.state.closings == [cluster_pb2.END_REASON_IDLE]


async def test_an_acknowledgement_may_overtake_the_news_that_all_is_written(
    controller: FakeController, channel: ControllerChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_session: Any = channel.stub.Session

    def open_with_slow_news(**arguments: object) -> Any:
        call = open_session(**arguments)
        done_writing = call.done_writing

        async def done_writing_without_end() -> None:
            await done_writing()
            await asyncio.Event().wait()

        monkeypatch.setattr(call, "done_writing", done_writing_without_end)
        return call

    monkeypatch.setattr(channel.stub, "Session", open_with_slow_news)
    pending = PendingReports()
    pending.set_closing(cluster_pb2.END_REASON_IDLE)
    async with _running(_session(channel, pending)) as task:
        assert await asyncio.wait_for(asyncio.shield(task), 30) is Outcome.CLOSING_ACKNOWLEDGED
    assert controller.state.closings == [cluster_pb2.END_REASON_IDLE]


async def test_the_end_of_the_scheduler_is_reported_to_a_controller_that_comes_back(
    controller: FakeController, channel: ControllerChannel, eventually: Eventually
) -> None:
    pending = PendingReports()
    async with _running(_session(channel, pending)) as task:
        await eventually(lambda: controller.state.hellos)
        await controller.stop()
        pending.set_closing(cluster_pb2.END_REASON_IDLE)
        await controller.start()
        assert await asyncio.wait_for(asyncio.shield(task), 30) is Outcome.CLOSING_ACKNOWLEDGED
    assert controller.state.closings == [cluster_pb2.END_REASON_IDLE]
