"""Reports that wait to be sent, without any Dask."""

from __future__ import annotations

from headrace.agent.pending_reports import Departure, PendingReports
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2


def _joined(change: pb.SchedulerChange) -> dict[str, str]:
    return {worker.process: worker.address for worker in change.joined}


def _hello(**workers: str) -> pb.SchedulerHello:
    return pb.SchedulerHello(workers=[pb.JoinedWorker(process=p, address=a) for p, a in workers.items()])


def _kinds(pending: PendingReports) -> list[str | None]:
    return [request.WhichOneof("report") for request in pending.take()]


def test_of_a_worker_that_left_and_came_back_only_its_return_is_reported() -> None:
    pending = PendingReports()
    pending.add_left("w")
    pending.add_joined("w", "tls://b")
    [request] = pending.take()
    assert not request.change.left
    assert _joined(request.change) == {"w": "tls://b"}


def test_what_a_worker_lost_is_reported_although_it_came_back() -> None:
    pending = PendingReports()
    pending.add_left("w", Departure(tasks=2))
    pending.add_joined("w", "tls://b")
    pending.add_left("w", Departure(tasks=1, results=3))
    pending.add_joined("w", "tls://c")
    [request] = pending.take()
    assert list(request.change.left) == [pb.LeftWorker(process="w", tasks_lost=3, results_lost=3)]
    assert _joined(request.change) == {"w": "tls://c"}


def test_a_worker_that_joined_and_left_is_reported_as_left() -> None:
    pending = PendingReports()
    pending.add_joined("w", "tls://b")
    pending.add_left("w", retired=True)
    [request] = pending.take()
    assert list(request.change.left) == [pb.LeftWorker(process="w", retired=True)]
    assert not request.change.joined


def test_a_hello_replaces_all_changes_but_not_events() -> None:
    pending = PendingReports()
    pending.add_joined("w", "tls://b")
    pending.add_left("v")
    pending.set_activity(pb.Activity(clients=1))
    pending.add_event(cluster_pb2.EVENT_TYPE_RETIREMENT_DELAYED, cluster_pb2.SEVERITY_WARNING, "it waits")
    pending.start_session(_hello)
    assert _kinds(pending) == ["event"]
    assert _kinds(pending) == []


def test_losses_without_a_session_are_reported_after_the_next_hello() -> None:
    pending = PendingReports()
    pending.add_left("gone", Departure(scattered=1))
    pending.add_left("back", Departure(results=2))
    pending.add_joined("back", "tls://c")
    pending.start_session(lambda: _hello(back="tls://c", other="tls://d"))
    [request] = pending.take()
    assert {worker.process: (worker.results_lost, worker.scattered_lost) for worker in request.change.left} == {
        "gone": (0, 1),
        "back": (2, 0),
    }
    assert _joined(request.change) == {"back": "tls://c"}


def test_how_a_process_died_is_reported_when_it_is_known() -> None:
    pending = PendingReports()
    pending.add_left("w", Departure(tasks=2))
    pending.add_left("w", Departure(memory_limit=1000, exit_code=-15))
    [request] = pending.take()
    assert list(request.change.left) == [
        pb.LeftWorker(process="w", tasks_lost=2, memory_limit_bytes=1000, exit_code=-15)
    ]
    pending.add_left("w", Departure(exit_code=-9))
    pending.add_joined("w", "tls://b")
    [request] = pending.take()
    assert list(request.change.left) == [pb.LeftWorker(process="w", exit_code=-9)]


def test_losses_are_reported_once_and_retirements_in_each_session() -> None:
    pending = PendingReports()
    pending.add_left("lost", Departure(tasks=1))
    pending.add_left("retired", retired=True)
    list(pending.take())
    pending.start_session(_hello)
    [request] = pending.take()
    assert list(request.change.left) == [pb.LeftWorker(process="retired", retired=True)]


def test_closing_is_the_last_report_of_each_session() -> None:
    pending = PendingReports()
    pending.set_closing(cluster_pb2.END_REASON_IDLE)
    pending.add_left("w")
    pending.set_scale_request("default", 0)
    assert _kinds(pending) == ["change", "scale_request", "closing"]
    pending.start_session(_hello)
    assert _kinds(pending) == ["closing"]


def test_what_happens_while_reports_are_written_is_reported_before_the_closing() -> None:
    pending = PendingReports()
    pending.add_joined("w", "tls://b")
    requests = pending.take()
    assert next(requests).HasField("change")
    pending.add_left("w", Departure(tasks=2))
    pending.set_closing(cluster_pb2.END_REASON_IDLE)
    rest = [request.WhichOneof("report") for request in requests]
    assert rest + _kinds(pending) == ["change", "closing"]


def test_what_was_not_written_is_reported_in_the_next_session() -> None:
    pending = PendingReports()
    pending.add_left("w", Departure(tasks=2))
    written = pending.take()
    next(written)  # its writing fails
    pending.add_left("w", Departure(results=1))
    pending.start_session(_hello)
    pending.add_event(cluster_pb2.EVENT_TYPE_RETIREMENT_DELAYED, cluster_pb2.SEVERITY_WARNING, "it waits")
    again = pending.take()
    assert list(next(again).change.left) == [pb.LeftWorker(process="w", tasks_lost=2, results_lost=1)]
    assert next(again).event.message == "it waits"  # its writing fails
    pending.start_session(_hello)
    assert _kinds(pending) == ["event"]
    pending.start_session(_hello)
    assert _kinds(pending) == []


def test_what_the_scheduler_does_is_sent_with_the_clock_that_it_was_read_from() -> None:
    pending = PendingReports()
    activity = pb.Activity(clients=1)
    pending.set_activity(activity)
    [request] = pending.take()
    assert request.change.activity.HasField("clock")
    assert not activity.HasField("clock")  # it is compared with the next one
