"""From the model to protos."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.resource_names import cluster_name, user_name, worker_name
from headrace.v1 import cluster_pb2 as pb
from headrace_controller.model import (
    Cluster,
    ClusterId,
    Condition,
    Event,
    Group,
    OptionValue,
    Phase,
    Spec,
    Status,
    WorkerRecord,
    WorkerState,
)

PHASES = {phase: pb.Phase.Value(f"PHASE_{phase}") for phase in Phase}
_WORKER_STATES = {state: pb.WorkerState.Value(f"WORKER_STATE_{state}") for state in WorkerState}


def cluster(record: Cluster) -> pb.Cluster:
    """A cluster as the API shows it."""
    return pb.Cluster(
        name=cluster_name(record.id),
        owner=user_name(record.owner),
        spec=_spec(record.spec),
        status=_status(record),
        generation=record.generation,
        etag=str(record.revision),
        create_time=timestamp(record.created),
        end_time=_timestamp(record.status.ended),
    )


def worker(cluster: ClusterId, record: WorkerRecord) -> pb.Worker:
    """A worker as the API shows it."""
    return pb.Worker(
        name=worker_name(cluster, record.id),
        group=record.group,
        state=_WORKER_STATES[record.state],
        address=record.address,
        create_time=timestamp(record.created),
        message=record.message,
    )


def event(cluster: ClusterId, happened: Event) -> pb.ClusterEvent:
    """An event as the API shows it."""
    return pb.ClusterEvent(
        id=happened.id,
        cluster=cluster_name(cluster),
        time=timestamp(happened.time),
        severity=pb.Severity.Value(f"SEVERITY_{happened.severity}"),
        type=happened.type,
        message=happened.message,
    )


def timestamp(seconds: float) -> Timestamp:
    """Seconds since the epoch as a timestamp."""
    fraction, whole = math.modf(seconds)
    return Timestamp(seconds=int(whole), nanos=int(fraction * 1_000_000) * 1000)


def struct(values: Mapping[str, OptionValue]) -> Struct:
    """Option values as a struct."""
    made = Struct()
    made.update(dict(values))
    return made


def _timestamp(seconds: float | None) -> Timestamp | None:
    return None if seconds is None else timestamp(seconds)


def _spec(spec: Spec) -> pb.ClusterSpec:
    return pb.ClusterSpec(
        alias=spec.alias,
        options=struct(spec.options),
        worker_groups=[_group(group) for group in spec.groups],
        tags=spec.tags,
        stop=spec.stop is not None,
    )


def _group(group: Group) -> pb.WorkerGroup:
    adapt = group.adapt and pb.AdaptRange(minimum=group.adapt.minimum, maximum=group.adapt.maximum)
    return pb.WorkerGroup(name=group.name, size=group.size, adapt=adapt, options=struct(group.options))


def _status(record: Cluster) -> pb.ClusterStatus:
    status, report = record.status, record.report
    return pb.ClusterStatus(
        phase=PHASES[status.phase],
        observed_generation=status.observed_generation,
        conditions=[_condition(condition) for condition in status.conditions],
        worker_groups=_group_statuses(record.spec, status),
        reason=pb.EndReason.Value(f"END_REASON_{status.reason or 'UNSPECIFIED'}"),
        message=status.message,
        log_tail=status.log_tail,
        start_time=_timestamp(status.started),
        dashboard_path=f"/clusters/{record.id}/status" if report.dashboard_address else "",
        versions=report.versions,
    )


def _condition(condition: Condition) -> pb.Condition:
    return pb.Condition(
        type=condition.type,
        holds=condition.holds,
        reason=condition.reason,
        message=condition.message,
        change_time=timestamp(condition.changed),
    )


def _group_statuses(spec: Spec, status: Status) -> list[pb.WorkerGroupStatus]:
    counts = Counter((worker.group, worker.state) for worker in status.workers.values())
    return [
        pb.WorkerGroupStatus(
            name=group.name,
            desired=group.size,
            pending=counts[group.name, WorkerState.PENDING],
            running=counts[group.name, WorkerState.RUNNING],
            retiring=counts[group.name, WorkerState.RETIRING],
        )
        for group in spec.groups
    ]
