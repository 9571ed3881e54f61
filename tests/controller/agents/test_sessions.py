"""Sessions of agents: what they report is stored, and the instructions follow the record."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from redis.asyncio import Redis
from tests.conftest import Eventually
from tests.controller.agents.conftest import CLOCK, Replica
from tests.controller.agents.stream import joined
from tests.controller.builders import new_cluster, running_worker, worker
from tests.controller.conftest import Recorder
from tests.controller.emptying import empty

from headrace.errors import ClusterNotFound, InternalError, InvalidRequest, SessionReplaced, StoreUnavailable
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2
from headrace.v1.enums import EventType, ExitCause
from headrace_controller import metrics
from headrace_controller.agents import sessions
from headrace_controller.agents.instructions import instructions
from headrace_controller.keys import Keys
from headrace_controller.model import (
    AdaptRange,
    Cluster,
    Demand,
    Departure,
    EndReason,
    Exit,
    Group,
    Phase,
    Report,
    Severity,
    WorkerId,
    WorkerState,
)
from headrace_controller.store import Fence
from headrace_controller.store.codec import pack

ONE, TWO = WorkerId("default-1"), WorkerId("default-2")


@pytest.fixture
async def cluster(replica: Replica, record: Recorder) -> Cluster:
    """A cluster with two workers, of which its spec wants one."""
    made = new_cluster(groups=(Group(size=1),))
    made = replace(made, workers={ONE: running_worker(ONE), TWO: worker(TWO)})
    recorded = await record(made)
    await replica.mirror.fresh()
    return recorded


async def ended(replica: Replica, cluster: Cluster, fence: Fence) -> None:
    seen = replica.record(cluster.id)
    status = replace(seen.status, phase=Phase.STOPPED, reason=EndReason.USER, ended=CLOCK)
    replica.mirror.apply(await replica.store.records.save_status(seen, replace(seen, status=status), fence=fence))


async def test_a_hello_is_stored_before_the_first_instruction(
    replica: Replica, cluster: Cluster, eventually: Eventually
) -> None:
    stream = replica.connect(cluster.id, ONE)
    await eventually(lambda: stream.instructions)
    report = (await replica.store.reads.get(cluster.id)).report
    assert (report.session, report.connected, report.holder, report.changed) == (10, True, "a", CLOCK)
    assert (report.scheduler_address, report.joined) == ("tls://127.0.0.1:1", {ONE: "tls://127.0.0.1:2"})
    [instruction] = stream.instructions
    assert [guest.member for guest in instruction.guests.guests] == ["users/ann", "roles/admin", "roles/operator"]
    instruction.ClearField("guests")
    assert instruction == pb.SessionResponse()


async def test_changes_are_stored(replica: Replica, cluster: Cluster, eventually: Eventually) -> None:
    stream = replica.connect(cluster.id, ONE)
    stream.send_change(
        joined=joined(TWO), activity=pb.Activity(clients=3, idle_since=Timestamp(seconds=int(CLOCK) - 7))
    )
    stream.send_change(left=[pb.LeftWorker(process=ONE, tasks_lost=4)])
    await eventually(lambda: replica.record(cluster.id).report.sequence == 3)
    report = (await replica.store.reads.get(cluster.id)).report
    assert report.joined == {TWO: "tls://127.0.0.1:2"}
    assert report.departures == {ONE: Departure(tasks_lost=4)}
    assert (report.clients, report.idle_since) == (3, CLOCK - 7)


class Scaled:
    """A handler of the mirror that notes which workers had joined when another size was asked for."""

    def __init__(self) -> None:
        self.joined: list[set[WorkerId]] = []

    def added(self, _cluster: Cluster) -> None: ...

    def updated(self, old: Cluster, new: Cluster) -> None:
        if old.targets != new.targets:
            self.joined.append(set(new.report.joined))

    def removed(self, _cluster: Cluster) -> None: ...


async def test_what_has_joined_is_stored_before_the_size_that_was_asked_for_after_it(
    replica: Replica, record: Recorder, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Group(adapt=AdaptRange(minimum=0, maximum=3))
    cluster = await record(replace(new_cluster(groups=(group,)), targets={"default": 1}, workers={TWO: worker(TWO)}))
    await replica.mirror.fresh()
    replica.mirror.connect(scaled := Scaled())
    save_report, released = replica.store.records.save_report, asyncio.Event()

    async def late(seen: Cluster, report: Report) -> Cluster:
        await released.wait()
        return await save_report(seen, report)

    monkeypatch.setattr(replica.store.records, "save_report", late)
    stream = replica.connect(cluster.id)
    stream.send_change(joined=joined(TWO))
    stream.send(scale_request=pb.ScaleRequest(group="default", size=0))
    stream.send(event=pb.AgentEvent(type=cluster_pb2.EVENT_TYPE_RETIREMENT_DELAYED, message="read"))

    async def all_is_read() -> bool:
        return [event.message for event in await replica.store.events.list(cluster.id)][-1:] == ["read"]

    await eventually(all_is_read)
    released.set()
    await eventually(lambda: replica.record(cluster.id).targets == {"default": 0})
    assert scaled.joined == [{TWO}]


async def test_a_size_is_granted_although_the_store_is_too_full_for_reports(
    replica: Replica, record: Recorder, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Group(adapt=AdaptRange(minimum=0, maximum=3))
    cluster = await record(replace(new_cluster(groups=(group,)), targets={"default": 1}))
    await replica.mirror.fresh()
    stream = replica.connect(cluster.id)
    await eventually(lambda: stream.instructions)

    async def full(_seen: Cluster, _report: Report) -> Cluster:
        raise StoreUnavailable("full")

    monkeypatch.setattr(replica.store.records, "save_report", full)
    stream.send_change(activity=pb.Activity(clients=1))
    stream.send(scale_request=pb.ScaleRequest(group="default", size=0))
    await eventually(lambda: replica.record(cluster.id).targets == {"default": 0})


async def test_instructions_follow_the_record(replica: Replica, cluster: Cluster, eventually: Eventually) -> None:
    stream = replica.connect(cluster.id, ONE)
    seen = replica.record(cluster.id)
    groups = (Group(size=0, adapt=AdaptRange(minimum=0, maximum=3)),)
    changed = await replica.store.records.change(
        seen, lambda record: replace(record, spec=replace(record.spec, groups=groups)), demand=_nothing, limits={}
    )
    replica.mirror.apply(changed)
    expected = pb.SessionResponse(
        adaptive_groups=[pb.AdaptiveGroup(group="default", minimum=0, maximum=3, desired=0)],
        retire=[pb.RetireInstruction(group="default", keep=0)],
        guests=instructions(cluster).guests,
    )
    await eventually(lambda: stream.instructions[-1:] == [expected])


async def test_a_report_that_changes_no_instruction_sends_none(
    replica: Replica, cluster: Cluster, eventually: Eventually
) -> None:
    stream = replica.connect(cluster.id, ONE)
    stream.send_change(activity=pb.Activity(clients=1))
    await eventually(lambda: replica.record(cluster.id).report.sequence == 2)
    stream.half_close()
    await stream.task
    assert len(stream.instructions) == 1


@pytest.mark.parametrize("removes_ended", [True, False])
async def test_only_an_agent_that_says_it_removes_ended_workers_is_told_of_them(
    replica: Replica, cluster: Cluster, fence: Fence, eventually: Eventually, removes_ended: bool
) -> None:
    stream = replica.connect(cluster.id, ONE, TWO, removes_ended=removes_ended)
    await eventually(lambda: stream.instructions)
    for name in (TWO, ONE):  # of old agents, nothing follows from the first one
        seen = replica.record(cluster.id)
        lost = replace(seen.workers[name], state=WorkerState.FAILED, exit=Exit(cause=ExitCause.NODE_LOST))
        workers = {**seen.workers, name: lost}
        saved = await replica.store.records.save_status(seen, replace(seen, workers=workers), fence=fence)
        replica.mirror.apply(saved)
    ended = [pb.EndedWorker(process=name, address="tls://127.0.0.1:2") for name in (ONE, TWO)]
    if removes_ended:
        await eventually(lambda: list(stream.instructions[-1].ended) == ended)
        stream.send_change(left=[pb.LeftWorker(process=ONE), pb.LeftWorker(process=TWO)])
        await eventually(lambda: not stream.instructions[-1].ended)
    stream.half_close()
    await stream.task
    assert bool([one for one in stream.instructions if one.ended]) == removes_ended


async def test_a_newer_session_replaces_an_older_one(
    replicas: tuple[Replica, Replica], cluster: Cluster, eventually: Eventually
) -> None:
    here, there = replicas
    first = here.connect(cluster.id, session=10)
    await eventually(lambda: first.instructions)
    second = here.connect(cluster.id, session=11)
    await first.task
    assert isinstance(first.error, SessionReplaced)
    await eventually(lambda: second.instructions)

    await there.mirror.fresh()
    third = there.connect(cluster.id, session=12)
    await second.task
    assert isinstance(second.error, SessionReplaced)
    report = (await here.store.reads.get(cluster.id)).report
    assert (report.session, report.holder, report.connected) == (12, "b", True)
    assert third.error is None


async def test_an_older_session_is_refused(
    replicas: tuple[Replica, Replica], cluster: Cluster, eventually: Eventually
) -> None:
    here, there = replicas
    newest = here.connect(cluster.id, session=10)
    late = here.connect(cluster.id, session=9)
    await late.task
    assert isinstance(late.error, SessionReplaced)
    await eventually(lambda: newest.instructions)
    await there.mirror.fresh()
    elsewhere = there.connect(cluster.id, session=9)
    await elsewhere.task
    assert isinstance(elsewhere.error, SessionReplaced)
    assert newest.error is None
    assert here.record(cluster.id).report.connected


async def test_an_agent_that_leaves_is_away(replica: Replica, cluster: Cluster, eventually: Eventually) -> None:
    stream = replica.connect(cluster.id, ONE)
    await eventually(lambda: stream.instructions)
    await stream.cut()
    await eventually(lambda: not replica.record(cluster.id).report.connected)
    report = replica.record(cluster.id).report
    assert (report.changed, report.joined) == (CLOCK, {ONE: "tls://127.0.0.1:2"})


class Connected:
    """A handler of the mirror that notes whether the agent has a session."""

    def __init__(self) -> None:
        self.noted: list[bool] = []

    def added(self, cluster: Cluster) -> None:
        self.noted.append(cluster.report.connected)

    def updated(self, _old: Cluster, new: Cluster) -> None:
        self.noted.append(new.report.connected)

    def removed(self, _cluster: Cluster) -> None: ...


async def test_an_agent_that_returns_at_once_was_never_away(
    replica: Replica, cluster: Cluster, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_RETURN_SECONDS", 60)
    first = replica.connect(cluster.id, ONE)
    await eventually(lambda: first.instructions)
    replica.mirror.connect(connected := Connected())
    await first.cut()
    second = replica.connect(cluster.id, ONE, session=11)
    await eventually(lambda: second.instructions)
    monkeypatch.undo()
    await second.cut()
    await eventually(lambda: connected.noted[-1:] == [False])
    assert connected.noted == [True, False]
    assert replica.record(cluster.id).report.session == 11


async def test_a_replica_that_ends_does_not_call_its_agents_away(
    replica: Replica, cluster: Cluster, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_RETURN_SECONDS", "_CLOSE_SECONDS"):
        monkeypatch.setattr(sessions, name, 60)
    stream = replica.connect(cluster.id, ONE)
    await eventually(lambda: stream.instructions)
    await stream.cut()
    await replica.sessions.close()
    assert not replica.sessions._leaving  # pyright: ignore[reportPrivateUsage] nothing is saved later, either
    assert (await replica.store.reads.get(cluster.id)).report.connected


async def test_a_session_ends_only_once_the_end_of_its_scheduler_is_stored(replica: Replica, cluster: Cluster) -> None:
    stream = replica.connect(cluster.id, ONE)
    stream.send(closing=pb.SchedulerClosing(reason=cluster_pb2.END_REASON_IDLE))
    stream.half_close()
    await stream.task
    assert stream.error is None
    assert (await replica.store.reads.get(cluster.id)).report.closing is EndReason.IDLE


async def test_an_ended_cluster_is_told_to_stop(
    replica: Replica, cluster: Cluster, fence: Fence, eventually: Eventually
) -> None:
    stream = replica.connect(cluster.id, ONE)
    await eventually(lambda: stream.instructions)
    await ended(replica, cluster, fence)
    await eventually(lambda: stream.instructions[-1] == pb.SessionResponse(stop=True))
    stream.send_change(left=[pb.LeftWorker(process=ONE)])  # nobody needs it any more
    stream.half_close()
    await stream.task
    assert stream.error is None


async def test_a_cluster_that_ended_unnoticed_is_told_to_stop(
    replicas: tuple[Replica, Replica], cluster: Cluster, fence: Fence, eventually: Eventually
) -> None:
    here, there = replicas
    await there.mirror.fresh()
    stale = here.record(cluster.id)
    await ended(there, cluster, fence)
    stream = here.connect(cluster.id)
    assert stale.status.phase is not Phase.STOPPED
    await eventually(lambda: stream.instructions == [pb.SessionResponse(stop=True)])


async def test_what_the_store_has_lost_is_stored_again(
    replica: Replica, cluster: Cluster, redis: Redis, keys: Keys, eventually: Eventually
) -> None:
    stream = replica.connect(cluster.id, ONE)
    await eventually(lambda: stream.instructions)
    replica.lost[cluster.id] = cluster  # without any report
    await empty(redis)
    stream.send_change(joined=joined(TWO))

    async def is_stored() -> bool:
        await replica.mirror.verify([cluster.id])
        found = replica.mirror.get(cluster.id)
        return found is not None and set(found.report.joined) == {ONE, TWO}

    await eventually(is_stored)
    assert stream.error is None
    report = (await replica.store.reads.get(cluster.id)).report
    assert (report.session, report.sequence, report.connected) == (10, 2, True)


async def test_a_session_of_a_lost_cluster_reports_again_even_if_nothing_changes(
    replica: Replica, cluster: Cluster, redis: Redis, eventually: Eventually
) -> None:
    stream = replica.connect(cluster.id, ONE)
    await eventually(lambda: stream.instructions)
    replica.lost[cluster.id] = cluster
    await empty(redis)
    await replica.mirror.verify([cluster.id])  # as the mirror does when it finds the gap
    await eventually(lambda: replica.mirror.get(cluster.id) is not None)
    await eventually(lambda: set(replica.record(cluster.id).report.joined) == {ONE})
    assert stream.error is None


async def test_a_session_of_a_cluster_that_cannot_be_adopted_ends(
    replica: Replica, cluster: Cluster, redis: Redis, eventually: Eventually
) -> None:
    stream = replica.connect(cluster.id, ONE)
    await eventually(lambda: stream.instructions)
    await empty(redis)
    stream.send_change(activity=pb.Activity(clients=1))
    await stream.task
    assert isinstance(stream.error, ClusterNotFound)
    await replica.mirror.verify([cluster.id])


async def test_workers_without_a_record_do_not_count(
    replica: Replica, cluster: Cluster, eventually: Eventually
) -> None:
    stream = replica.connect(cluster.id, ONE, "stranger")
    stream.send_change(joined=joined("another", TWO))
    await eventually(lambda: replica.record(cluster.id).report.sequence == 2)
    assert set(replica.record(cluster.id).report.joined) == {ONE, TWO}


async def test_a_worker_that_another_replica_has_just_created_counts(
    replicas: tuple[Replica, Replica], cluster: Cluster, fence: Fence, eventually: Eventually
) -> None:
    here, there = replicas
    stream = here.connect(cluster.id)
    await eventually(lambda: stream.instructions)
    await there.mirror.fresh()
    seen = there.record(cluster.id)
    three = worker("default-3")
    await there.store.records.save_status(seen, replace(seen, workers={**seen.workers, three.id: three}), fence=fence)
    stream.send_change(joined=joined("default-3"))
    await eventually(lambda: "default-3" in here.record(cluster.id).report.joined)


async def test_an_agents_events_are_bounded(replica: Replica, cluster: Cluster, eventually: Eventually) -> None:
    stream = replica.connect(cluster.id)
    forged = pb.AgentEvent(type=cluster_pb2.EVENT_TYPE_FAILED, severity=cluster_pb2.SEVERITY_ERROR, message="lie")
    stream.send(event=forged)
    delayed = cluster_pb2.EVENT_TYPE_RETIREMENT_DELAYED
    stream.send(event=pb.AgentEvent(type=delayed, severity=cluster_pb2.SEVERITY_WARNING, message="x" * 5000))
    stream.send(event=pb.AgentEvent(type=delayed, message="y"))
    stream.half_close()
    await stream.task
    found = [(e.type, e.severity, e.message) for e in await replica.store.events.list(cluster.id)]
    assert found[1:] == [
        (EventType.RETIREMENT_DELAYED, Severity.WARNING, "x" * 1024),
        (EventType.RETIREMENT_DELAYED, Severity.INFO, "y"),
    ]


async def test_events_that_are_too_many_are_summed_up(
    replica: Replica, cluster: Cluster, eventually: Eventually
) -> None:
    stream = replica.connect(cluster.id)
    delayed = pb.AgentEvent(type=cluster_pb2.EVENT_TYPE_RETIREMENT_DELAYED, message="flood")
    for _ in range(500):
        stream.send(event=delayed)
    stream.half_close()
    await stream.task
    kept: list[str] = []

    async def are_summed_up() -> bool:
        found = await replica.store.events.list(cluster.id, count=1000)
        kept[:] = [event.message for event in found if event.type is EventType.RETIREMENT_DELAYED]
        sums = [int(event.message.split()[0]) for event in found if event.type is EventType.EVENTS_LEFT_OUT]
        return len(kept) + sum(sums) == 500

    await eventually(are_summed_up)
    assert 10 <= len(kept) < 60


async def test_events_are_counted_by_cluster_and_not_by_session(
    replica: Replica, cluster: Cluster, eventually: Eventually
) -> None:
    delayed = pb.AgentEvent(type=cluster_pb2.EVENT_TYPE_RETIREMENT_DELAYED, message="flood")
    began = time.monotonic()
    for session in range(10, 30):
        stream = replica.connect(cluster.id, session=session)
        for _ in range(3):
            stream.send(event=delayed)
        stream.half_close()
        await stream.task

    async def told() -> list[EventType]:
        return [event.type for event in await replica.store.events.list(cluster.id, count=1000)]

    async def is_summed_up() -> bool:
        return EventType.EVENTS_LEFT_OUT in await told()

    await eventually(is_summed_up)
    kept = (await told()).count(EventType.RETIREMENT_DELAYED)
    assert kept < 15 + (time.monotonic() - began)  # 10 at once, and one a second


async def test_a_flood_of_reports_is_written_a_few_times_and_the_last_one_counts(
    replica: Replica, cluster: Cluster, redis: Redis, keys: Keys, eventually: Eventually
) -> None:
    before, began = await redis.xlen(keys.changes()), time.monotonic()
    stream = replica.connect(cluster.id)
    for clients in range(1, 801):
        stream.send_change(activity=pb.Activity(clients=clients))
        await asyncio.sleep(0)
    await eventually(lambda: replica.record(cluster.id).report.clients == 800)
    written = await redis.xlen(keys.changes()) - before
    assert written < 60 + 10 * (time.monotonic() - began)  # 50 at once, and ten a second


async def test_a_flood_of_scale_requests_is_written_a_few_times_and_the_last_one_counts(
    replica: Replica, record: Recorder, redis: Redis, keys: Keys, eventually: Eventually
) -> None:
    made = await record(new_cluster(groups=(Group(size=0, adapt=AdaptRange(minimum=0, maximum=6)),)))
    await replica.mirror.fresh()
    began = time.monotonic()
    stream = replica.connect(made.id)
    for size in range(600):
        stream.send(scale_request=pb.ScaleRequest(group="default", size=size % 5))
        stream.send(scale_request=pb.ScaleRequest(group=f"unknown-{size}", size=1))
        await asyncio.sleep(0)
    stream.send(scale_request=pb.ScaleRequest(group="default", size=6))
    await eventually(lambda: replica.record(made.id).targets == {"default": 6})
    assert await redis.xlen(keys.changes()) < 40 + 5 * (time.monotonic() - began)  # 20 at once, and five a second


async def test_invented_workers_are_kept_nowhere(replica: Replica, cluster: Cluster, eventually: Eventually) -> None:
    invented = [f"default-{number}-abcdef" for number in range(90_000)]
    first = pb.SessionRequest(
        sequence=1, hello=pb.SchedulerHello(session=11, versions=dict.fromkeys(invented[:1000], "1"))
    )
    first.hello.workers.extend(joined(ONE, *invented))
    ended = asyncio.Event()

    async def requests() -> AsyncIterator[pb.SessionRequest]:
        left = [pb.LeftWorker(process=name, tasks_lost=1, retired=bool(n % 2)) for n, name in enumerate(invented)]
        yield pb.SessionRequest(sequence=2, change=pb.SchedulerChange(joined=joined(*invented), left=left))
        await ended.wait()

    counted = metrics.UNKNOWN_WORKERS._value.get()  # pyright: ignore[reportPrivateUsage]
    serving = replica.sessions.serve(cluster, first, requests())
    instructions = asyncio.ensure_future(_drain(serving))
    await eventually(lambda: replica.record(cluster.id).report.sequence == 2)
    assert sys.getrefcount(first) == 2  # that of this test, and the argument
    report = replica.record(cluster.id).report
    assert (report.joined, len(report.versions)) == ({ONE: "tls://127.0.0.1:2"}, 16)
    assert (report.retired, report.departures) == (frozenset(), {})
    assert metrics.UNKNOWN_WORKERS._value.get() - counted == 2 * len(invented)  # pyright: ignore[reportPrivateUsage]
    stored = await replica.store.reads.get(cluster.id)
    assert len(pack(stored.report)) < 4096
    ended.set()
    await instructions


async def _drain(serving: AsyncGenerator[pb.SessionResponse]) -> None:
    async for _ in serving:
        pass


async def test_an_event_loop_that_falls_silent_is_reported_until_it_turns_again(
    replica: Replica, cluster: Cluster, eventually: Eventually
) -> None:
    stream = replica.connect(cluster.id, heartbeat_seconds=0.01)
    await eventually(lambda: replica.record(cluster.id).report.silent_since is not None)
    assert replica.record(cluster.id).report.connected
    assert (await replica.store.reads.get(cluster.id)).report.silent_since is not None

    def beats() -> bool:
        """Beat each time: it may fall silent again before it is recorded that it turns."""
        stream.send(heartbeat=pb.SchedulerHeartbeat())
        return replica.record(cluster.id).report.silent_since is None

    await eventually(beats)


async def test_heartbeats_write_nothing(
    replica: Replica,
    cluster: Cluster,
    redis: Redis,
    keys: Keys,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replica.sessions, "_silence_seconds", 60)
    monkeypatch.setattr(sessions, "_RETURN_SECONDS", 60)
    stream = replica.connect(cluster.id, heartbeat_seconds=0.01)
    await eventually(lambda: stream.instructions)
    written = await redis.xlen(keys.changes())
    for _ in range(100):
        stream.send(heartbeat=pb.SchedulerHeartbeat())
    stream.half_close()
    await stream.task  # all of them were read
    assert await redis.xlen(keys.changes()) == written


async def test_an_agent_that_sends_no_heartbeats_is_not_expected_to(
    replica: Replica, cluster: Cluster, record: Recorder, eventually: Eventually
) -> None:
    silent = await record(new_cluster())
    await replica.mirror.fresh()
    stream = replica.connect(cluster.id)
    await eventually(lambda: stream.instructions)
    replica.connect(silent.id, heartbeat_seconds=0.01)
    await eventually(lambda: replica.record(silent.id).report.silent_since is not None)
    assert replica.record(cluster.id).report.silent_since is None


async def test_a_backend_that_is_away_keeps_no_known_agent_from_returning(
    replica: Replica, cluster: Cluster, eventually: Eventually
) -> None:
    replica.machine.trouble = "it is away"
    early = replica.connect(cluster.id)
    await early.task
    assert isinstance(early.error, StoreUnavailable)
    replica.machine.trouble = ""
    first = replica.connect(cluster.id, ONE, session=11)
    await eventually(lambda: first.instructions)
    await first.cut()
    replica.machine.trouble = "it is away again"
    second = replica.connect(cluster.id, ONE, session=12)
    await eventually(lambda: second.instructions)
    assert replica.record(cluster.id).report.session == 12


async def test_messages_of_newer_agents_are_ignored(replica: Replica, cluster: Cluster, eventually: Eventually) -> None:
    stream = replica.connect(cluster.id)
    stream.send()
    stream.send(hello=pb.SchedulerHello(session=99))
    stream.send_change(activity=pb.Activity(clients=1))
    await eventually(lambda: replica.record(cluster.id).report.clients == 1)
    assert replica.record(cluster.id).report.session == 10


async def test_a_store_that_is_away_is_waited_for(
    replica: Replica, cluster: Cluster, redis: Redis, eventually: Eventually
) -> None:
    stream = replica.connect(cluster.id, ONE)
    await eventually(lambda: stream.instructions)
    replica.errors = [StoreUnavailable("away"), StoreUnavailable("still away")]
    replica.lost[cluster.id] = cluster
    await empty(redis)
    await replica.mirror.verify([cluster.id])
    await eventually(lambda: (found := replica.mirror.get(cluster.id)) and found.report.joined)
    assert stream.error is None


async def test_what_is_no_message_ends_the_session_as_a_wrong_request(
    replica: Replica, cluster: Cluster, eventually: Eventually
) -> None:
    stream = replica.connect(cluster.id, ONE)
    await eventually(lambda: stream.instructions)
    stream.send_garbage()
    await stream.task
    assert isinstance(stream.error, InvalidRequest)


async def test_a_fault_ends_the_session_with_an_error(
    replica: Replica, cluster: Cluster, redis: Redis, eventually: Eventually
) -> None:
    stream = replica.connect(cluster.id, ONE)
    await eventually(lambda: stream.instructions)
    replica.errors = [RuntimeError("a bug")]
    await empty(redis)
    await replica.mirror.verify([cluster.id])
    await stream.task
    assert isinstance(stream.error, InternalError)


def _nothing(_cluster: Cluster) -> Demand:
    return Demand()


async def test_each_redial_is_an_instruction_of_its_own_and_is_said_once(
    replicas: tuple[Replica, Replica], cluster: Cluster, eventually: Eventually
) -> None:
    here, there = replicas
    here.mirror.changes.on_entry(here.sessions.on_change)
    stream = here.connect(cluster.id, ONE)
    await eventually(lambda: stream.instructions)
    for number in (1, 2):
        await there.store.routes.redial()
        await eventually(lambda number=number: len(stream.instructions) == 1 + number)
    assert [instruction.redial for instruction in stream.instructions] == [False, True, True]
    await stream.cut()
    again = here.connect(cluster.id, ONE, session=11)
    await eventually(lambda: again.instructions)
    assert [instruction.redial for instruction in again.instructions] == [False]
