"""Values of the controller as messages of the API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from headrace.option_protos import set_type, value_to_proto
from headrace.option_types import OptionValue
from headrace.resource_names import cluster_name, event_name, group_name, user_name, worker_name
from headrace.v1 import cluster_pb2 as pb
from headrace.v1 import option_value_pb2, options_service_pb2
from headrace.v1.enums import ConditionStatus, ConditionType, EventType, ExitCause, WaitReason
from headrace_chassis.routes import share_messages
from headrace_controller import resources
from headrace_controller.meter import Meter
from headrace_controller.model import (
    AdaptRange,
    Cluster,
    ClusterId,
    Condition,
    EndReason,
    Event,
    Exit,
    Group,
    Phase,
    Resources,
    Severity,
    Spec,
    WorkerRecord,
    WorkerState,
)
from headrace_controller.options.catalogue import Option
from headrace_controller.options.shapes import demand, shape
from headrace_controller.worker_counts import count_states

# A value that a newer release has written is UNSPECIFIED here.
PHASES = {phase: pb.Phase.Value(f"PHASE_{phase}") for phase in Phase}
_REASONS = {
    None: pb.END_REASON_UNSPECIFIED,
    **{reason: pb.EndReason.Value(f"END_REASON_{reason}") for reason in EndReason},
}
_WORKER_STATES = {state: pb.WorkerState.Value(f"WORKER_STATE_{state}") for state in WorkerState}
_SEVERITIES = {severity: pb.Severity.Value(f"SEVERITY_{severity}") for severity in Severity}
_EVENT_TYPES = {type_: pb.EventType.Value(f"EVENT_TYPE_{type_.name}") for type_ in EventType}
_CONDITION_TYPES = {type_: pb.ConditionType.Value(f"CONDITION_TYPE_{type_.name}") for type_ in ConditionType}
_CONDITION_STATUSES = {status: pb.ConditionStatus.Value(f"CONDITION_STATUS_{status}") for status in ConditionStatus}
_WAIT_REASONS = {reason: pb.WaitReason.Value(f"WAIT_REASON_{reason}") for reason in WaitReason}
_EXIT_CAUSES = {cause: pb.ExitCause.Value(f"EXIT_CAUSE_{cause}") for cause in ExitCause}


def cluster(record: Cluster, *, full: bool = True) -> pb.Cluster:
    """A cluster in the view FULL or BASIC."""
    return pb.Cluster(
        name=cluster_name(record.id),
        owner=user_name(record.owner),
        groups=[group_name(group) for group in record.groups],
        spec=spec(record.spec, full=full),
        status=_status(record, full=full),
        shares=share_messages(record.spec.shares),
        generation=record.generation,
        etag=str(record.generation),
        resource_version=str(record.revision),
        create_time=timestamp(record.created),
        end_time=_timestamp(record.status.ended),
    )


def spec(spec: Spec, *, full: bool = True) -> pb.ClusterSpec:
    return pb.ClusterSpec(
        alias=spec.alias,
        profile=spec.profile,
        options=_options(spec.options) if full else None,
        worker_groups=[_group(group, full=full) for group in spec.groups],
        tags=spec.tags,
        lifetime=None if spec.lifetime is None else _duration(spec.lifetime),
        stop=spec.stop,
        keep_until_time=_timestamp(spec.keep_until),
    )


def worker(record: Cluster, worker: WorkerRecord) -> pb.Worker:
    group = record.spec.group(worker.group)
    return pb.Worker(
        name=worker_name(record.id, worker.id),
        group=worker.group,
        state=_WORKER_STATES[worker.state],
        address=worker.address,
        host=worker.host,
        resources=None if group is None else _resources(shape(record.spec, group).resources),
        create_time=timestamp(worker.created),
        message=worker.message,
        exit=None if worker.exit is None else _exit(worker.exit),
        wait_reason=_wait_reason(worker.wait),
        leaving=_exit_cause(None if worker.state.ended else worker.leaving),
    )


def event(cluster: ClusterId, event: Event) -> pb.ClusterEvent:
    return pb.ClusterEvent(
        name=event_name(cluster, event.id),
        time=timestamp(event.time),
        severity=_SEVERITIES.get(event.severity, pb.SEVERITY_UNSPECIFIED),
        type=_EVENT_TYPES.get(event.type, pb.EVENT_TYPE_UNSPECIFIED),
        message=event.message,
        wait_reason=_wait_reason(event.wait),
        exit_cause=_exit_cause(event.exit_cause),
    )


def option(option: Option) -> options_service_pb2.Option:
    message = options_service_pb2.Option(
        key=option.key,
        label=option.label,
        description=option.description,
        default_value=value_to_proto(option.default),
        per_group=option.per_group,
    )
    set_type(message, option.type)
    return message


def timestamp(seconds: float) -> Timestamp:
    """Seconds since the epoch as a timestamp, to the microsecond."""
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    return Timestamp(seconds=whole, nanos=micros * 1000)


def _timestamp(seconds: float | None) -> Timestamp | None:
    return None if seconds is None else timestamp(seconds)


def _group(group: Group, *, full: bool) -> pb.WorkerGroup:
    return pb.WorkerGroup(
        name=group.name,
        size=group.size,
        adapt=None if group.adapt is None else _adapt(group.adapt),
        options=_options(group.options) if full else None,
    )


def _adapt(adapt: AdaptRange) -> pb.AdaptRange:
    return pb.AdaptRange(minimum=adapt.minimum, maximum=adapt.maximum)


def _options(values: Mapping[str, OptionValue]) -> dict[str, option_value_pb2.OptionValue]:
    return {key: value_to_proto(value) for key, value in values.items()}


def _duration(seconds: float) -> Duration:
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    return Duration(seconds=whole, nanos=micros * 1000)


def _status(record: Cluster, *, full: bool) -> pb.ClusterStatus:
    status, report = record.status, record.report
    return pb.ClusterStatus(
        phase=PHASES[status.phase],
        observed_generation=status.observed_generation,
        conditions=[_condition(condition) for condition in status.conditions] if full else None,
        worker_groups=_group_statuses(record),
        reason=_REASONS.get(status.reason, pb.END_REASON_UNSPECIFIED),
        message=status.message,
        log_tail=status.log_tail if full else "",
        start_time=_timestamp(status.started),
        dashboard_path=f"/clusters/{record.id}/status" if report.dashboard_address else "",
        versions=report.versions if full else None,
        idle_since=_timestamp(report.idle_since),
        clients=report.clients,
        promised=_promised(record),
        usage=_usage(record.meter) if record.meter.since else None,
    )


def _usage(meter: Meter) -> pb.ClusterUsage:
    spent, rates = meter.spent, meter.rates
    return pb.ClusterUsage(
        as_of=timestamp(meter.since / 1000),
        core_seconds=spent.core_seconds,
        memory_gib_seconds=spent.gib_seconds,
        gpu_seconds=spent.gpu_seconds,
        cost=spent.money,
        cores=rates.cores / 1000,
        memory_gib=rates.memory / 1024,
        gpus=rates.gpus,
        cost_per_hour=rates.cost / 1e9,
        currency=meter.currency,
    )


def _promised(record: Cluster) -> pb.Resources | None:
    if record.status.phase.ended or record.begun is None:
        return None
    sum_ = demand(record)
    cores, memory_bytes, gpus = sum_[resources.CORES] / 1000, sum_[resources.MEMORY], sum_[resources.GPUS]
    return pb.Resources(cores=cores, memory_bytes=memory_bytes, gpus=gpus)


def _condition(condition: Condition) -> pb.Condition:
    return pb.Condition(
        type=_CONDITION_TYPES.get(condition.type, pb.CONDITION_TYPE_UNSPECIFIED),
        status=_CONDITION_STATUSES.get(condition.status, pb.CONDITION_STATUS_UNSPECIFIED),
        reason=condition.reason,
        message=condition.message,
        change_time=timestamp(condition.changed),
        observed_generation=condition.observed_generation,
    )


def _group_statuses(record: Cluster) -> Iterable[pb.WorkerGroupStatus]:
    counts = count_states(record.workers)
    return [
        pb.WorkerGroupStatus(
            name=group.name,
            desired=record.desired(group),
            pending=counts[group.name, WorkerState.PENDING],
            running=counts[group.name, WorkerState.RUNNING],
            retiring=counts[group.name, WorkerState.RETIRING],
        )
        for group in record.spec.groups
    ]


def _resources(resources: Resources) -> pb.Resources:
    return pb.Resources(cores=resources.cores, memory_bytes=resources.memory_bytes, gpus=resources.gpus)


def _exit(exit_: Exit) -> pb.ProcessExit:
    return pb.ProcessExit(cause=_exit_cause(exit_.cause), exit_code=exit_.code, time=timestamp(exit_.time))


def _exit_cause(cause: ExitCause | None) -> pb.ExitCause.ValueType:
    return pb.EXIT_CAUSE_UNSPECIFIED if cause is None else _EXIT_CAUSES.get(cause, pb.EXIT_CAUSE_UNSPECIFIED)


def _wait_reason(reason: WaitReason | None) -> pb.WaitReason.ValueType:
    return pb.WAIT_REASON_UNSPECIFIED if reason is None else _WAIT_REASONS.get(reason, pb.WAIT_REASON_UNSPECIFIED)
