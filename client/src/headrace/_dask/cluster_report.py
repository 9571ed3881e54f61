"""What headrace reports about a cluster, as Python objects."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from headrace._target.target import Target
from headrace._wire.calls import cluster_id
from headrace._wire.words import condition_type, word
from headrace.access import Share
from headrace.errors import InvalidRequest, Violation
from headrace.option_protos import value_from_proto
from headrace.option_types import OptionValue
from headrace.v1 import cluster_pb2
from headrace.v1.enums import Right
from headrace.v1.option_value_pb2 import OptionValue as OptionValueProto
from headrace.v1.right_pb2 import Right as RightNumber

if TYPE_CHECKING:
    from headrace._dask.security import GatewaySecurity


class ClusterStatus(enum.IntEnum):
    """Position in a cluster's life, in five words. It equals its text: ``report.status == "running"``."""

    PENDING = 1
    RUNNING = 2
    STOPPING = 3
    STOPPED = 4
    FAILED = 5

    def __eq__(self, other: object) -> bool:
        return self.name.lower() == other.lower() if isinstance(other, str) else int(self) == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(int(self))

    @classmethod
    def from_name(cls, name: str | ClusterStatus) -> ClusterStatus:
        """Return the status of that name, in upper or lower case.

        Raises
        ------
        InvalidRequest
            There is no such status.
        """
        if isinstance(name, cls):
            return name
        try:
            return cls[str(name).upper()]
        except KeyError:
            known = ", ".join(status.name.lower() for status in cls)
            raise InvalidRequest.of(Violation("status", f"{name!r} is none of {known}")) from None


_BY_PHASE: Mapping[cluster_pb2.Phase.ValueType, ClusterStatus] = {
    cluster_pb2.PHASE_QUEUED: ClusterStatus.PENDING,
    cluster_pb2.PHASE_STARTING: ClusterStatus.PENDING,
    cluster_pb2.PHASE_RUNNING: ClusterStatus.RUNNING,
    cluster_pb2.PHASE_STOPPING: ClusterStatus.STOPPING,
    cluster_pb2.PHASE_STOPPED: ClusterStatus.STOPPED,
    cluster_pb2.PHASE_FAILED: ClusterStatus.FAILED,
}


def to_phases(
    status: str | ClusterStatus | Iterable[str | ClusterStatus] | None,
) -> list[cluster_pb2.Phase.ValueType]:
    """Return the phases of one status or of several; pending and running by default."""
    given = [status] if isinstance(status, str | ClusterStatus) else status or ("pending", "running")
    wanted = {ClusterStatus.from_name(one) for one in given}
    return [phase for phase, one in _BY_PHASE.items() if one in wanted]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerGroupReport:
    """A report on a group of workers.

    Attributes
    ----------
    name
        Its name.
    size
        Number of workers that was asked for. With `adapt`, the number to start from.
    adapt
        (minimum, maximum) of adaptive scaling, or None if the size is fixed. A maximum of None means as many as the
        limits allow.
    desired
        Number of workers to have now: `size`, or what adaptive scaling last asked for.
    pending, running, retiring
        Numbers of workers that are starting, that have joined, and that are moving their data away before they end.
    options
        Options that differ from those of the cluster. Empty in a short report (see `Gateway.list_clusters`).
    """

    name: str
    size: int
    adapt: tuple[int, int | None] | None
    desired: int
    pending: int
    running: int
    retiring: int
    options: dict[str, OptionValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A fact about a cluster besides its status, such as whether its scheduler answers.

    Attributes
    ----------
    type
        Which fact, such as "Reachable".
    status
        "TRUE", "FALSE", or "UNKNOWN".
    reason, message
        Why, as a CamelCase word and as a sentence.
    change_time
        Time at which `status` last changed.
    """

    type: str
    status: str
    reason: str
    message: str
    change_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterReport:
    """A report on a cluster.

    Attributes
    ----------
    name
        Id of the cluster.
    alias
        Name that its owner chose (the API calls it alias), or "".
    owner
        User id of its owner.
    profile
        Profile that it was made from.
    options
        Options that it was made with. Empty in a short report (see `Gateway.list_clusters`).
    status
        Position in its life.
    scheduler_address
        ``gateway://`` address of its scheduler. None unless it runs.
    dashboard_link
        Its dashboard. None unless it runs. It needs a login; `GatewayCluster.dashboard_link` does not.
    start_time, stop_time
        Times at which it was created and at which it had ended, in local time.
    lifetime
        Time after its creation at which it is stopped. None means no maximum.
    reason
        Why it ended, such as ``"IDLE"``, or "".
    message
        What it waits for, or why it ended, in a sentence.
    log_tail
        Last lines of the log of the process that ended it. "" in a short report.
    tags
        Labels for cost reports.
    shares
        Who else may use it.
    worker_groups
        Its groups of workers.
    conditions
        Facts besides its status. Empty in a short report.
    versions
        Versions that the scheduler reported, by name. Empty in a short report.
    security
        For ``distributed.Client(report.scheduler_address, security=report.security)``. None unless it runs, and in
        lists.
    """

    name: str
    alias: str
    owner: str
    profile: str
    options: dict[str, OptionValue]
    status: ClusterStatus
    scheduler_address: str | None
    dashboard_link: str | None
    start_time: datetime
    stop_time: datetime | None
    lifetime: timedelta | None
    reason: str
    message: str
    log_tail: str = field(repr=False)
    tags: dict[str, str]
    shares: tuple[Share, ...]
    worker_groups: tuple[WorkerGroupReport, ...]
    conditions: tuple[Condition, ...]
    versions: dict[str, str]
    security: GatewaySecurity | None = field(repr=False, default=None)

    def __repr__(self) -> str:
        alias = f" {self.alias!r}" if self.alias else ""
        return f"ClusterReport<{self.name}{alias}, status={self.status.name}>"

    @classmethod
    def from_proto(
        cls, cluster: cluster_pb2.Cluster, target: Target, security: GatewaySecurity | None = None
    ) -> ClusterReport:
        """Make the report from the cluster of the contract."""
        name, spec, status = cluster_id(cluster.name), cluster.spec, cluster.status
        short = _BY_PHASE.get(status.phase, ClusterStatus.PENDING)
        running = short is ClusterStatus.RUNNING
        return cls(
            name=name,
            alias=spec.alias,
            owner=cluster.owner.removeprefix("users/"),
            profile=spec.profile,
            options=_to_options(spec.options),
            status=short,
            scheduler_address=f"{target.proxy_address}/{name}" if running else None,
            dashboard_link=f"{target.public_address}{status.dashboard_path}"
            if running and status.dashboard_path
            else None,
            start_time=_local_time(cluster.create_time),
            stop_time=_local_time(cluster.end_time) if cluster.HasField("end_time") else None,
            lifetime=spec.lifetime.ToTimedelta() if spec.HasField("lifetime") else None,
            reason=word(cluster_pb2.EndReason.DESCRIPTOR, status.reason),
            message=status.message,
            log_tail=status.log_tail,
            tags=dict(spec.tags),
            shares=tuple(to_share(share) for share in cluster.shares),
            worker_groups=tuple(_to_groups(cluster)),
            conditions=tuple(_to_condition(condition) for condition in status.conditions),
            versions=dict(status.versions),
            security=security if running else None,
        )


def _to_options(options: Mapping[str, OptionValueProto]) -> dict[str, OptionValue]:
    """Return the values of options, without those whose types this client does not know."""
    values = {key: value_from_proto(proto) for key, proto in options.items()}
    return {key: value for key, value in values.items() if value is not None}


def _to_groups(cluster: cluster_pb2.Cluster) -> Iterable[WorkerGroupReport]:
    seen = {group.name: group for group in cluster.status.worker_groups}
    for group in cluster.spec.worker_groups:
        status = seen.get(group.name, cluster_pb2.WorkerGroupStatus())
        maximum = group.adapt.maximum if group.adapt.HasField("maximum") else None
        yield WorkerGroupReport(
            name=group.name,
            size=group.size,
            adapt=(group.adapt.minimum, maximum) if group.HasField("adapt") else None,
            desired=status.desired,
            pending=status.pending,
            running=status.running,
            retiring=status.retiring,
            options=_to_options(group.options),
        )


def _to_condition(condition: cluster_pb2.Condition) -> Condition:
    return Condition(
        type=condition_type(condition.type),
        status=word(cluster_pb2.ConditionStatus.DESCRIPTOR, condition.status),
        reason=condition.reason,
        message=condition.message,
        change_time=condition.change_time.ToDatetime(tzinfo=UTC),
    )


def to_share(share: cluster_pb2.Share) -> Share:
    """Return a share of the contract."""
    names = {word(RightNumber.DESCRIPTOR, right) for right in share.rights}
    expires = share.expire_time.ToMilliseconds() / 1000 if share.HasField("expire_time") else None
    return Share(share.member, frozenset(Right[name] for name in names if name in Right.__members__), expires)


def _local_time(time: Timestamp) -> datetime:
    # Without a time zone, like dask-gateway's: programs compare it with datetime.now().
    return time.ToDatetime(tzinfo=UTC).astimezone().replace(tzinfo=None)
