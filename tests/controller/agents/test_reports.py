"""Merging what agents report."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tests.controller.builders import NOW, WORKER_ADDRESS, connected_report, running_cluster, running_worker, worker

from headrace.errors import InvalidRequest
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2
from headrace_controller.agents import reports
from headrace_controller.api import convert
from headrace_controller.model import Cluster, Departure, EndReason, Report, WorkerId, WorkerState

A, B, C = WorkerId("default-1"), WorkerId("default-2"), WorkerId("gpu-3")
CLUSTER = running_cluster(worker(A), worker(B), worker(C))


def joined(*workers: str) -> list[pb.JoinedWorker]:
    return [pb.JoinedWorker(process=worker, address=f"tls://{worker}") for worker in workers]


def hello(session: int = 2, scheduler_address: str = "tls://s", **fields: Any) -> pb.SessionRequest:
    message = pb.SchedulerHello(session=session, scheduler_address=scheduler_address, **fields)
    return pb.SessionRequest(sequence=1, hello=message)


def changed(report: Report, sequence: int = 2, cluster: Cluster = CLUSTER, **fields: Any) -> Report:
    request = pb.SessionRequest(sequence=sequence, change=pb.SchedulerChange(**fields))
    return reports.after_change(cluster, report, request, NOW)


def test_a_hello_replaces_all_but_what_left_before() -> None:
    before = connected_report(
        connected=False,
        joined={A: "tls://a", B: "tls://b"},
        retired=frozenset({A, B}),
        departures={C: Departure(tasks_lost=1)},
        closing=EndReason.IDLE,
        route_version="5-0",
    )
    cluster = replace(CLUSTER, report=before)
    request = hello(workers=joined(B), activity=pb.Activity(clients=2), versions={"dask": "1"}, dashboard_address="d:1")
    assert reports.after_hello(cluster, request, NOW, holder="a") == Report(
        session=2,
        sequence=1,
        connected=True,
        changed=NOW,
        holder="a",
        scheduler_address="tls://s",
        dashboard_address="d:1",
        versions={"dask": "1"},
        joined={B: "tls://default-2"},
        retired=frozenset({A}),
        departures={C: Departure(tasks_lost=1)},
        clients=2,
        route_version="5-0",
    )


def test_an_agent_that_stays_with_its_replica_was_connected_all_the_time() -> None:
    first = reports.after_hello(CLUSTER, hello(), 50.0, holder="a")
    again = reports.after_hello(replace(CLUSTER, report=first), hello(session=3), 60.0, holder="a")
    assert again.changed == 50.0
    moved = reports.after_hello(replace(CLUSTER, report=first), hello(session=3), 60.0, holder="b")
    assert (moved.changed, moved.holder) == (60.0, "b")  # nobody knows since when it was away


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.SessionRequest(change=pb.SchedulerChange()), "hello"),
        (pb.SessionRequest(), "hello"),
        (hello(session=0), "hello"),
        (hello(session=-1), "hello"),
        (hello(scheduler_address="x" * 257), "hello.scheduler_address"),
        (hello(dashboard_address="x" * 257), "hello.dashboard_address"),
    ],
)
def test_a_session_starts_with_a_sensible_hello(request_: pb.SessionRequest, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        reports.check_hello(request_)
    assert [violation.field for violation in caught.value.violations] == [field]


def test_changes_add_and_remove() -> None:
    report = connected_report(joined={A: "tls://a"})
    report = changed(report, 2, joined=joined(B, C))
    left = [
        pb.LeftWorker(process=A, tasks_lost=3, results_lost=2, scattered_lost=1),
        pb.LeftWorker(process=B, retired=True),
    ]
    report = changed(report, 3, left=left)
    assert (report.joined, report.sequence) == ({C: "tls://gpu-3"}, 3)
    assert report.retired == {B}
    assert report.departures == {A: Departure(tasks_lost=3, results_lost=2, scattered_lost=1)}


def test_a_worker_that_its_nanny_restarted_has_left_and_joined() -> None:
    report = connected_report(joined={A: "tls://a"}, retired=frozenset({A}))
    report = changed(report, joined=joined(A), left=[pb.LeftWorker(process=A, tasks_lost=1)])
    assert report.joined == {A: "tls://default-1"}
    assert report.departures == {A: Departure(tasks_lost=1)}
    assert report.retired == frozenset()


def test_how_its_process_died_is_added_to_what_a_worker_cost_until_that_is_recorded() -> None:
    cluster = running_cluster(running_worker(A))
    report = connected_report(joined={A: WORKER_ADDRESS})
    report = changed(report, cluster=cluster, left=[pb.LeftWorker(process=A, tasks_lost=3)])
    died = pb.LeftWorker(process=A, memory_limit_bytes=2**30, exit_code=-15)
    report = changed(report, cluster=cluster, left=[died])
    assert report.departures == {A: Departure(tasks_lost=3, memory_limit_bytes=2**30, exit_code=-15)}
    back = replace(report, joined={A: WORKER_ADDRESS})  # as the plan has recorded it
    report = changed(back, cluster=cluster, left=[pb.LeftWorker(process=A, tasks_lost=1)])
    assert report.departures == {A: Departure(tasks_lost=1)}


def test_activity_is_kept_until_the_next_one() -> None:
    idle = pb.Activity(clients=1, idle_since=Timestamp(seconds=int(NOW) - 8, nanos=500_000_000))
    report = changed(connected_report(), 2, activity=idle)
    assert (report.clients, report.idle_since) == (1, NOW - 7.5)
    assert changed(report, 3, joined=joined(A)).idle_since == NOW - 7.5
    busy = changed(report, 4, activity=pb.Activity())
    assert (busy.clients, busy.idle_since) == (0, None)


@pytest.mark.parametrize("ahead", [600, 0, -600])
def test_a_clock_that_differs_does_not_change_how_long_it_has_been_idle(ahead: int) -> None:
    sent = Timestamp(seconds=int(NOW) + ahead)
    idle = pb.Activity(idle_since=Timestamp(seconds=sent.seconds - 30), clock=sent)
    assert changed(connected_report(), activity=idle).idle_since == NOW - 30


@pytest.mark.parametrize("idle", [-(2**63), -(2**40), 0, 2**40, 2**63 - 1])
@pytest.mark.parametrize("clock", [None, -(2**63), 0, 2**63 - 1])
def test_a_cluster_that_lies_about_its_idleness_can_be_listed_and_read(idle: int, clock: int | None) -> None:
    told = None if clock is None else Timestamp(seconds=clock)
    activity = pb.Activity(idle_since=Timestamp(seconds=idle), clock=told)
    for report in (
        reports.after_hello(CLUSTER, hello(activity=activity), NOW, holder="a"),
        changed(connected_report(), activity=activity),
    ):
        shown = convert.cluster(replace(CLUSTER, report=report)).status.idle_since
        assert CLUSTER.created <= shown.ToDatetime(UTC).timestamp() <= NOW


def test_what_makes_no_sense_is_left_out() -> None:
    strangers = [*joined("stranger"), pb.JoinedWorker(process=A, address="x" * 257), pb.JoinedWorker(process=B)]
    assert reports.after_hello(CLUSTER, hello(workers=strangers), NOW, holder="a").joined == {}
    report = changed(connected_report(), joined=strangers, left=[pb.LeftWorker(process="stranger", retired=True)])
    assert (report.joined, report.retired, report.departures) == ({}, frozenset(), {})
    negative = pb.LeftWorker(
        process=A, tasks_lost=-1, results_lost=-1, scattered_lost=-1, memory_limit_bytes=-1, exit_code=2**30
    )
    assert changed(connected_report(), left=[negative]).departures == {A: Departure()}
    future = pb.Activity(clients=-1, idle_since=Timestamp(seconds=2**40))
    report = changed(connected_report(), activity=future)
    assert (report.clients, report.idle_since) == (0, NOW)
    versions = {f"{n:0>300}": "v" * 300 for n in range(20)}
    found = reports.after_hello(CLUSTER, hello(versions=versions), NOW, holder="a").versions
    assert len(found) <= 16
    assert all(len(name) <= 128 and len(version) <= 128 for name, version in found.items())


@pytest.mark.parametrize(
    ("reported", "closing"),
    [
        (cluster_pb2.END_REASON_IDLE, EndReason.IDLE),
        (cluster_pb2.END_REASON_USER, EndReason.USER),
        (cluster_pb2.END_REASON_SCHEDULER_LOST, EndReason.SCHEDULER_LOST),
        (cluster_pb2.END_REASON_EVICTED, None),  # the backend knows, not the agent
        (cluster_pb2.END_REASON_BUDGET, None),
        (cluster_pb2.END_REASON_UNSPECIFIED, None),
    ],
)
def test_an_agent_may_say_that_its_scheduler_ends_because_it_is_idle_was_shut_down_or_signalled(
    reported: cluster_pb2.EndReason.ValueType, closing: EndReason | None
) -> None:
    request = pb.SessionRequest(sequence=9, closing=pb.SchedulerClosing(reason=reported))
    report = reports.after_closing(connected_report(), request)
    assert (report.closing, report.sequence) == (closing, 9)


def test_retired_workers_stay_until_they_are_closed() -> None:
    cluster = running_cluster(worker(A, WorkerState.RETIRING), worker(B, WorkerState.CLOSED))
    assert reports.without_recorded(Report(retired=frozenset({A, B, C})), cluster).retired == {A}
    kept = Report(retired=frozenset({A}))
    assert reports.without_recorded(kept, cluster) is kept


def test_what_one_costs_that_others_end_stays_until_its_process_has_ended() -> None:
    report = connected_report(departures={A: Departure(results_lost=2)})
    leaving = running_cluster(worker(A, WorkerState.RETIRING, address="tls://10.0.0.1:1", joined=True))
    assert reports.without_recorded(report, leaving) is report


def test_what_a_loss_cost_stays_until_the_loss_is_recorded() -> None:
    departures = {A: Departure(), B: Departure(), C: Departure()}
    left = connected_report(departures=departures)
    unseen = running_cluster(running_worker(A), report={"departures": departures})
    assert set(reports.without_recorded(left, unseen).departures) == {A}
    noticed = running_cluster(worker(A), worker(B, WorkerState.FAILED), status={"losses": {A: NOW, B: NOW}})
    assert set(reports.without_recorded(left, noticed).departures) == {A, B}
    recorded = running_cluster(worker(A), worker(B, WorkerState.FAILED))
    assert reports.without_recorded(left, recorded).departures == {}
    restarted = connected_report(departures=departures, joined={A: "tls://other:1", B: WORKER_ADDRESS})
    back = running_cluster(running_worker(A), running_worker(B))
    assert set(reports.without_recorded(restarted, back).departures) == {A}
