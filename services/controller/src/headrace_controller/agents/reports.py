"""Merges what an agent tells into the report that is kept; pure."""

from __future__ import annotations

from dataclasses import replace

from headrace.internal.v1 import agent_service_pb2 as pb
from headrace_controller.model import Cluster, Report, WorkerId, WorkerState


def after_hello(old: Report, hello: pb.SchedulerHello, sequence: int, now: float, *, holder: str) -> Report:
    """The report at the begin of a session with this replica: what is told replaces what was."""
    joined = {WorkerId(worker.process): worker.address for worker in hello.workers}
    return Report(
        session=hello.session,
        sequence=sequence,
        connected=True,
        changed=old.changed if old.connected and old.holder == holder else now,
        holder=holder,
        scheduler_address=hello.scheduler_address,
        dashboard_address=hello.dashboard_address,
        versions=dict(hello.versions),
        joined=joined,
        retired=old.retired - joined.keys(),
        clients=hello.activity.clients,
        idle_since=_idle_since(hello.activity),
        route_version=old.route_version,
    )


def after_change(old: Report, change: pb.SchedulerChange, sequence: int) -> Report:
    """The report with what has changed."""
    gone = {WorkerId(worker) for worker in (*change.left, *change.retired)}
    joined = {worker: address for worker, address in old.joined.items() if worker not in gone}
    joined |= {WorkerId(worker.process): worker.address for worker in change.joined}
    report = replace(
        old,
        sequence=sequence,
        joined=joined,
        retired=(old.retired | {WorkerId(worker) for worker in change.retired}) - joined.keys(),
    )
    if change.HasField("activity"):
        return replace(report, clients=change.activity.clients, idle_since=_idle_since(change.activity))
    return report


def without_closed(report: Report, cluster: Cluster) -> Report:
    """The report less the retired workers that the status has let go."""
    workers = cluster.status.workers
    ended = {WorkerState.CLOSED, WorkerState.FAILED}
    kept = frozenset(name for name in report.retired if name in workers and workers[name].state not in ended)
    return report if kept == report.retired else replace(report, retired=kept)


def _idle_since(activity: pb.Activity) -> float | None:
    return activity.idle_since.ToMicroseconds() / 1e6 if activity.HasField("idle_since") else None
