"""Merges what an agent reports into the report that is stored. Pure.

An agent runs among its tenant's code, so what it reports is bounded here: workers that the record does not know,
addresses that are too long and numbers that make no sense are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from google.protobuf.timestamp_pb2 import Timestamp

from headrace.errors import InvalidRequest, Violation
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2
from headrace_controller.model import Cluster, Departure, EndReason, Report, WorkerId, WorkerState

_MAX_ADDRESS = 256
_MAX_SESSION = 2**62  # a later one must be greater and fit into 64 bits
_MAX_VERSIONS, _MAX_VERSION = 16, 128
_EXIT_CODES = range(-64, 256)

_CLOSING = {
    cluster_pb2.END_REASON_IDLE: EndReason.IDLE,
    cluster_pb2.END_REASON_USER: EndReason.USER,
    cluster_pb2.END_REASON_SCHEDULER_LOST: EndReason.SCHEDULER_LOST,  # by a signal that headrace did not send
}


def check_hello(request: pb.SessionRequest) -> pb.SchedulerHello:
    """Returns the hello of a session's first message; raises `InvalidRequest` if it is none."""
    hello = request.hello
    violations = [
        Violation(f"hello.{name}", f"is longer than {_MAX_ADDRESS} characters")
        for name, address in (
            ("scheduler_address", hello.scheduler_address),
            ("dashboard_address", hello.dashboard_address),
        )
        if len(address) > _MAX_ADDRESS
    ]
    if request.WhichOneof("report") != "hello" or not 0 < hello.session < _MAX_SESSION:
        violations = [Violation("hello", "the first message must be a hello with the number of its session")]
    if violations:
        raise InvalidRequest.of(*violations)
    return hello


def after_hello(cluster: Cluster, request: pb.SessionRequest, now: float, *, holder: str) -> Report:
    """The report at the start of a session with this replica: it replaces the previous one."""
    old, hello = cluster.report, request.hello
    joined = _joined(cluster, hello.workers)
    return Report(
        session=hello.session,
        sequence=request.sequence,
        connected=True,
        changed=old.changed if old.connected and old.holder == holder else now,
        holder=holder,
        scheduler_address=hello.scheduler_address,
        dashboard_address=hello.dashboard_address,
        versions=_versions(hello),
        joined=joined,
        retired=old.retired - joined.keys(),
        departures=old.departures,
        clients=max(0, hello.activity.clients),
        idle_since=_idle_since(cluster, hello.activity, now),
        route_version=old.route_version,
    )


def after_change(cluster: Cluster, old: Report, request: pb.SessionRequest, now: float) -> Report:
    """The report with a change. A worker that was restarted has left and joined."""
    old, change = without_recorded(old, cluster), request.change
    joined, departures = dict(old.joined), dict(old.departures)
    retired = set(old.retired)
    for worker in change.left:
        name = WorkerId(worker.process)
        joined.pop(name, None)
        if name not in cluster.workers:
            continue
        if worker.retired:
            retired.add(name)
        else:
            departures[name] = departures.get(name, Departure()) + _departure(worker)
    added = _joined(cluster, change.joined)
    report = replace(
        old,
        sequence=request.sequence,
        joined=joined | added,
        retired=frozenset(retired - added.keys()),
        departures=departures,
    )
    if not change.HasField("activity"):
        return report
    idle_since = _idle_since(cluster, change.activity, now)
    return replace(report, clients=max(0, change.activity.clients), idle_since=idle_since)


def after_closing(old: Report, request: pb.SessionRequest) -> Report:
    """The report with why the scheduler is about to end; reasons that only the controller may give are ignored."""
    return replace(old, sequence=request.sequence, closing=_CLOSING.get(request.closing.reason))


def without_recorded(report: Report, cluster: Cluster) -> Report:
    """The report without the retired workers that are closed, and without the losses that are recorded."""
    workers = cluster.workers
    retired = frozenset(name for name in report.retired if name in workers and not workers[name].state.ended)
    departures = {name: cost for name, cost in report.departures.items() if _is_unrecorded(report, cluster, name)}
    if len(retired) == len(report.retired) and len(departures) == len(report.departures):
        return report
    return replace(report, retired=retired, departures=departures)


def _is_unrecorded(report: Report, cluster: Cluster, name: WorkerId) -> bool:
    """Whether the plan still has to record a loss: it has noticed it, or has not seen yet that the worker left."""
    if name in cluster.status.losses:
        return True
    worker = cluster.workers.get(name)
    if worker is None or worker.state not in {WorkerState.RUNNING, WorkerState.RETIRING}:
        return False
    return report.joined.get(name) != worker.address


def _joined(cluster: Cluster, workers: Iterable[pb.JoinedWorker]) -> dict[WorkerId, str]:
    return {
        WorkerId(worker.process): worker.address
        for worker in workers
        if worker.process in cluster.workers and 0 < len(worker.address) <= _MAX_ADDRESS
    }


def _departure(worker: pb.LeftWorker) -> Departure:
    return Departure(
        tasks_lost=max(0, worker.tasks_lost),
        results_lost=max(0, worker.results_lost),
        scattered_lost=max(0, worker.scattered_lost),
        memory_limit_bytes=max(0, worker.memory_limit_bytes),
        exit_code=worker.exit_code if worker.exit_code in _EXIT_CODES else 0,
    )


def _versions(hello: pb.SchedulerHello) -> dict[str, str]:
    versions = list(hello.versions.items())[:_MAX_VERSIONS]
    return {name[:_MAX_VERSION]: version[:_MAX_VERSION] for name, version in versions}


def _idle_since(cluster: Cluster, activity: pb.Activity, now: float) -> float | None:
    """Time since which the scheduler is idle by our clock, from which that of its node may differ by any amount.

    It is within the life of the cluster, whatever the agent says: other times may be none that anybody can read.
    """
    if not activity.HasField("idle_since"):
        return None
    ahead = _seconds(activity.clock) - now if activity.HasField("clock") else 0.0
    return min(now, max(cluster.created, _seconds(activity.idle_since) - ahead))


def _seconds(time: Timestamp) -> float:
    return time.seconds + time.nanos / 1e9
