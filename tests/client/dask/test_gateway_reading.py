"""What a Gateway reads of clusters: lists, reports, events, workers and logs."""

from __future__ import annotations

from datetime import datetime

import pytest
from distributed import Client
from tests.client.fake_headrace import FakeHeadrace

from headrace import (
    ClusterReport,
    ClusterStatus,
    Gateway,
)
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb


def test_reports(fake: FakeHeadrace, gateway: Gateway) -> None:
    fake.starts = False
    name = gateway.submit(worker_cores=4, tags={"team": "x"}, worker_groups={"big": {"size": 2, "adapt": (1, 5)}})
    report: ClusterReport = gateway.get_cluster(name)
    assert (report.name, report.owner, report.status) == (name, "ann", ClusterStatus.PENDING)
    assert (report.options, report.tags, report.profile) == ({"worker_cores": 4}, {"team": "x"}, "standard")
    assert isinstance(report.options["worker_cores"], int)
    assert (report.scheduler_address, report.dashboard_link, report.security, report.stop_time) == (None,) * 4
    assert abs((datetime.now() - report.start_time).total_seconds()) < 60  # noqa: DTZ005 - as users of dask-gateway do
    assert [(group.name, group.size, group.adapt) for group in report.worker_groups] == [("big", 2, (1, 5))]
    assert [group.desired for group in report.worker_groups] == [2]
    assert repr(report) == f"ClusterReport<{name}, status=PENDING>"


def test_conditions_tell_what_is_known_and_what_is_not(gateway: Gateway) -> None:
    [condition] = gateway.get_cluster(gateway.submit()).conditions
    assert (condition.type, condition.status, condition.reason) == ("Reachable", "UNKNOWN", "AgentAway")


def test_what_a_newer_headrace_reports_is_read_as_far_as_it_goes(fake: FakeHeadrace, gateway: Gateway) -> None:
    fake.starts = False
    name = gateway.submit()
    record = fake.clusters[name].record
    record.status.phase = 77  # pyright: ignore[reportAttributeAccessIssue]
    record.status.conditions.add(type=78, status=79)
    record.spec.options["new"].SetInParent()
    fake.clusters[name].add_event(8000, "something new", 81)  # pyright: ignore[reportArgumentType]
    report = gateway.get_cluster(name)
    assert report.status is ClusterStatus.PENDING
    assert [(one.type, one.status) for one in report.conditions[1:]] == [("Unknown78", "UNKNOWN_79")]
    assert report.options == {}
    event = gateway.events(name)[-1]
    assert (event.type, event.severity, event.message) == ("Unknown8000", "unknown_81", "something new")


def test_reports_of_running_clusters_are_enough_to_connect(fake: FakeHeadrace, gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        report = gateway.get_cluster(cluster.name)
        assert report.status is ClusterStatus.RUNNING
        assert report.dashboard_link == f"{fake.address}/clusters/{cluster.name}/status"
        assert report.scheduler_address == cluster.scheduler_address
        with Client(report.scheduler_address, security=report.security) as client:
            assert client.scheduler_info()["type"] == "Scheduler"


def test_listing_by_status(gateway: Gateway) -> None:
    stopped, running = gateway.submit(), gateway.submit()
    gateway.stop_cluster(stopped)
    assert [report.name for report in gateway.list_clusters()] == [running]
    assert [report.name for report in gateway.list_clusters("stopped")] == [stopped]
    both = gateway.list_clusters(["STOPPED", ClusterStatus.RUNNING, "pending"])
    assert [report.name for report in both] == [running, stopped]
    with pytest.raises(ValueError, match="'gone' is none of pending, running"):
        gateway.list_clusters("gone")


def test_lists_are_short_unless_asked_otherwise(fake: FakeHeadrace, gateway: Gateway) -> None:
    gateway.submit(worker_cores=4)
    assert [report.options for report in gateway.list_clusters()] == [{}]
    assert [report.options for report in gateway.list_clusters(full=True)] == [{"worker_cores": 4}]
    assert [request.view for request in fake.requests_of(pb.ListClustersRequest)] == [
        pb.CLUSTER_VIEW_BASIC,
        pb.CLUSTER_VIEW_FULL,
    ]


def test_listing_by_tags_and_profile(gateway: Gateway) -> None:
    tagged, gpu = gateway.submit(tags={"team": "x", "a": "b"}), gateway.submit(profile="gpu")
    assert [report.name for report in gateway.list_clusters(tags={"team": "x"})] == [tagged]
    assert [report.name for report in gateway.list_clusters(profile="gpu")] == [gpu]


def test_an_ended_cluster_still_has_a_report(gateway: Gateway) -> None:
    name = gateway.submit()
    gateway.stop_cluster(name)
    gateway.stop_cluster(name)
    report = gateway.get_cluster(name)
    assert (report.status, report.reason) == (ClusterStatus.STOPPED, "USER")
    assert report.stop_time is not None
    assert report.stop_time >= report.start_time


def test_somebody_elses_cluster_is_not_there(gateway: Gateway, bob: Gateway) -> None:
    name = gateway.submit()
    for forbidden in (bob.get_cluster, bob.stop_cluster, bob.connect, bob.events, bob.workers, bob.logs):
        with pytest.raises(ValueError, match=name):
            forbidden(name)


def test_events_workers_and_logs(gateway: Gateway) -> None:
    name = gateway.submit(worker_groups={"default": 7})
    event, *_ = gateway.events(name)
    assert (event.message, event.severity, event.cluster) == ("the scheduler is being started", "info", name)
    assert event.type == "SchedulerStarting"
    workers = gateway.workers(name)
    assert len(workers) == 7
    assert (workers[0].name, workers[0].group, workers[0].state) == ("default-0-abcdef", "default", "running")
    assert (workers[0].host, workers[0].cores, workers[0].memory_bytes, workers[0].exit) == ("node-1", 2, 2 << 30, None)
    assert gateway.logs(name)["scheduler"] == "scheduler line 0\nscheduler line 1\nscheduler line 2\n"
    assert list(gateway.logs(name, "scheduler", tail=1)) == ["scheduler"]
    assert list(gateway.follow_logs(name, "scheduler", tail=1)) == [
        ("scheduler", "scheduler line 2\n"),
        ("scheduler", "later\n"),
    ]
    with pytest.raises(ValueError, match="tail: must be 1 to"):
        gateway.logs(name, tail=0)


def test_a_worker_has_the_cause_of_its_exit(fake: FakeHeadrace) -> None:
    from headrace import Worker

    worker = cluster_pb2.Worker(name="clusters/c/workers/w", state=cluster_pb2.WORKER_STATE_FAILED)
    worker.exit.cause, worker.exit.exit_code = cluster_pb2.EXIT_CAUSE_OUT_OF_MEMORY, -9
    found = Worker.from_proto(worker)
    assert found.exit is not None
    assert (found.state, found.exit.cause, found.exit.exit_code) == ("failed", "out_of_memory", -9)


def test_what_the_platform_does_with_workers_is_in_words(fake: FakeHeadrace) -> None:
    from headrace import ClusterEvent, Worker

    leaving = cluster_pb2.Worker(name="clusters/c/workers/w", leaving=cluster_pb2.EXIT_CAUSE_PREEMPTED)
    waiting = cluster_pb2.Worker(name="clusters/c/workers/w", wait_reason=cluster_pb2.WAIT_REASON_NODE_COMING)
    found = [Worker.from_proto(worker) for worker in (leaving, waiting)]
    assert [(worker.wait_reason, worker.leaving) for worker in found] == [("", "preempted"), ("node_coming", "")]
    event = cluster_pb2.ClusterEvent(
        type=cluster_pb2.EVENT_TYPE_WAITING,
        wait_reason=cluster_pb2.WAIT_REASON_UNSCHEDULABLE,
        exit_cause=cluster_pb2.EXIT_CAUSE_UNSPECIFIED,
    )
    told = ClusterEvent.from_proto(event)
    assert (told.type, told.wait_reason, told.exit_cause) == ("Waiting", "unschedulable", "")
    event.exit_cause = cluster_pb2.EXIT_CAUSE_NODE_LOST
    assert ClusterEvent.from_proto(event).exit_cause == "node_lost"
