"""Merging what agents tell, and what they are told."""

from __future__ import annotations

from dataclasses import replace

from google.protobuf.timestamp_pb2 import Timestamp

from headrace.internal.v1 import agent_service_pb2 as pb
from headrace_controller.agents import reports
from headrace_controller.agents.instructions import instructions
from headrace_controller.model import (
    AdaptRange,
    Cluster,
    ClusterId,
    EndReason,
    Group,
    Phase,
    Report,
    Spec,
    Status,
    UserId,
    WorkerId,
    WorkerRecord,
    WorkerState,
)

A, B, C = WorkerId("default-1-aaaaaa"), WorkerId("default-2-bbbbbb"), WorkerId("gpu-3-cccccc")


def joined(*workers: WorkerId) -> list[pb.JoinedWorker]:
    return [pb.JoinedWorker(process=worker, address=f"tls://{worker}") for worker in workers]


def cluster(*workers: WorkerRecord, phase: Phase = Phase.RUNNING, **spec: object) -> Cluster:
    status = Status(phase=phase, workers={worker.id: worker for worker in workers})
    made = Cluster(id=ClusterId("c1"), owner=UserId("ann"), created=0, spec=Spec(), status=status)
    return replace(made, spec=replace(made.spec, **spec))


def worker(name: WorkerId, state: WorkerState = WorkerState.RUNNING) -> WorkerRecord:
    return WorkerRecord(id=name, group=name.split("-")[0], state=state)


def test_a_hello_replaces_all_but_what_was_retired_before() -> None:
    old = Report(session=1, sequence=9, joined={A: "tls://a", B: "tls://b"}, retired=frozenset({A, B}), connected=False)
    hello = pb.SchedulerHello(
        session=2, scheduler_address="tls://s", workers=joined(B), activity=pb.Activity(clients=2)
    )
    new = reports.after_hello(old, hello, 1, 50.0, holder="a")
    assert (new.session, new.sequence, new.connected, new.changed) == (2, 1, True, 50.0)
    assert (dict(new.joined), new.retired, new.clients) == ({B: f"tls://{B}"}, frozenset({A}), 2)
    again = reports.after_hello(new, hello, 1, 60.0, holder="a")
    assert again.changed == 50.0  # it was connected all the time
    moved = reports.after_hello(new, hello, 1, 60.0, holder="b")
    assert (moved.changed, moved.holder) == (60.0, "b")  # nobody knows since when it was away


def test_changes_add_and_remove() -> None:
    report = Report(session=1, joined={A: "tls://a"})
    report = reports.after_change(report, pb.SchedulerChange(joined=joined(B, C)), 2)
    report = reports.after_change(report, pb.SchedulerChange(left=[A], retired=[B]), 3)
    assert (set(report.joined), report.retired, report.sequence) == ({C}, frozenset({B}), 3)
    idle = pb.Activity(clients=1, idle_since=Timestamp(seconds=7))
    report = reports.after_change(report, pb.SchedulerChange(activity=idle), 4)
    assert (report.clients, report.idle_since) == (1, 7.0)
    report = reports.after_change(report, pb.SchedulerChange(activity=pb.Activity()), 5)
    assert (report.clients, report.idle_since) == (0, None)


def test_retired_workers_stay_until_the_status_lets_them_go() -> None:
    report = Report(retired=frozenset({A, B, C}))
    seen = cluster(worker(A, WorkerState.RETIRING), worker(B, WorkerState.CLOSED))
    assert reports.without_closed(report, seen).retired == {A}
    kept = Report(retired=frozenset({A}))
    assert reports.without_closed(kept, seen) is kept


def test_instructions_are_the_whole_of_what_to_do() -> None:
    groups = (Group(name="default", size=1), Group(name="gpu", size=2, adapt=AdaptRange(minimum=0, maximum=4)))
    told = instructions(cluster(worker(A), worker(B, WorkerState.RETIRING), worker(C), groups=groups))
    assert list(told.retire) == [pb.RetireOrder(group="default", keep=1)]
    assert list(told.adaptive_groups) == [pb.AdaptiveGroup(group="gpu", minimum=0, maximum=4, size=2)]
    assert not told.stop
    assert instructions(cluster(worker(A, WorkerState.PENDING))) == pb.SessionResponse()


def test_ending_is_all_that_is_told_at_the_end() -> None:
    stop = pb.SessionResponse(stop=True)
    assert instructions(cluster(worker(A), stop=EndReason.USER)) == stop
    assert instructions(cluster(worker(A), phase=Phase.FAILED)) == stop
