"""What headrace tells about clusters, workers and events, as Python objects."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from headrace._target.target import Target
from headrace.errors import InvalidRequest, Violation
from headrace.v1 import cluster_pb2

if TYPE_CHECKING:
    from headrace._dask.security import GatewaySecurity


class ClusterStatus(enum.IntEnum):
    """Where a cluster is in its life, in five words."""

    PENDING = 1
    RUNNING = 2
    STOPPING = 3
    STOPPED = 4
    FAILED = 5

    @classmethod
    def from_name(cls, name: str | ClusterStatus) -> ClusterStatus:
        """Return the status of that name, in any case."""
        if isinstance(name, cls):
            return name
        try:
            return cls[str(name).upper()]
        except KeyError:
            known = ", ".join(status.name.lower() for status in cls)
            raise InvalidRequest.of(Violation("status", f"{name!r} is none of {known}")) from None

    @property
    def phases(self) -> tuple[cluster_pb2.Phase.ValueType, ...]:
        """The phases of the API that it stands for."""
        return tuple(phase for phase, status in _BY_PHASE.items() if status is self)


_BY_PHASE: Mapping[cluster_pb2.Phase.ValueType, ClusterStatus] = {
    cluster_pb2.PHASE_QUEUED: ClusterStatus.PENDING,
    cluster_pb2.PHASE_STARTING: ClusterStatus.PENDING,
    cluster_pb2.PHASE_RUNNING: ClusterStatus.RUNNING,
    cluster_pb2.PHASE_STOPPING: ClusterStatus.STOPPING,
    cluster_pb2.PHASE_STOPPED: ClusterStatus.STOPPED,
    cluster_pb2.PHASE_FAILED: ClusterStatus.FAILED,
}


@dataclass(frozen=True, slots=True)
class WorkerGroupReport:
    """A group of workers: wanted, and as last seen. `adapt` is (minimum, maximum), or None where the size is fixed."""

    name: str
    size: int
    adapt: tuple[int, int] | None
    pending: int
    running: int
    retiring: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterReport:
    """A report on a cluster.

    Attributes
    ----------
    name
        Its id.
    alias
        Name that its owner chose, or "".
    owner
        Whom it belongs to.
    options
        Options that it was made with.
    status
        Where it is in its life.
    scheduler_address
        ``gateway://`` address of its scheduler, or None unless it runs.
    dashboard_link
        Its dashboard, or None unless it runs. Needs a login; `GatewayCluster.dashboard_link` does not.
    start_time, stop_time
        When it was made and when it had ended, in local time.
    reason
        Why it ended, such as ``"IDLE"``, or "".
    message
        What it waits for, or why it ended, in a sentence.
    log_tail
        Last lines of the log of what ended it.
    tags
        Its marks.
    worker_groups
        Its groups of workers.
    security
        For ``distributed.Client(report.scheduler_address, security=report.security)``. None unless it runs.
    """

    name: str
    alias: str
    owner: str
    options: dict[str, object]
    status: ClusterStatus
    scheduler_address: str | None
    dashboard_link: str | None
    start_time: datetime
    stop_time: datetime | None
    reason: str
    message: str
    log_tail: str = field(repr=False)
    tags: dict[str, str]
    worker_groups: tuple[WorkerGroupReport, ...]
    security: GatewaySecurity | None = field(repr=False, default=None)

    def __repr__(self) -> str:
        alias = f" {self.alias!r}" if self.alias else ""
        return f"ClusterReport<{self.name}{alias}, status={self.status.name}>"

    @classmethod
    def of(cls, cluster: cluster_pb2.Cluster, target: Target, security: GatewaySecurity | None) -> ClusterReport:
        """Makes it from the API's cluster."""
        name = cluster.name.partition("/")[2]
        status = _BY_PHASE.get(cluster.status.phase, ClusterStatus.PENDING)
        running, dashboard = status is ClusterStatus.RUNNING, cluster.status.dashboard_path
        return cls(
            name=name,
            alias=cluster.spec.alias,
            owner=cluster.owner.partition("/")[2],
            options=cast("dict[str, object]", json_format.MessageToDict(cluster.spec.options)),
            status=status,
            scheduler_address=f"{target.proxy_address}/{name}" if running else None,
            dashboard_link=f"{target.public_address}{dashboard}" if running and dashboard else None,
            start_time=_local_time(cluster.create_time),
            stop_time=_local_time(cluster.end_time) if cluster.HasField("end_time") else None,
            reason=end_reason(cluster.status.reason),
            message=cluster.status.message,
            log_tail=cluster.status.log_tail,
            tags=dict(cluster.spec.tags),
            worker_groups=tuple(_groups(cluster)),
            security=security if running else None,
        )


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """Something that happened to a cluster: when, how bad ("info", "warning", "error"), a word and a sentence."""

    time: datetime
    severity: str
    type: str
    message: str
    cluster: str

    @classmethod
    def of(cls, event: cluster_pb2.ClusterEvent) -> ClusterEvent:
        """Makes it from the API's event."""
        severity = enum_word(cluster_pb2.Severity.DESCRIPTOR, event.severity, "SEVERITY_").lower()
        cluster = event.cluster.partition("/")[2]
        return cls(event.time.ToDatetime(tzinfo=UTC), severity, event.type, event.message, cluster)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as the controller knows it. `state` is pending, running, retiring, closed or failed."""

    name: str
    group: str
    state: str
    address: str
    create_time: datetime
    message: str

    @classmethod
    def of(cls, worker: cluster_pb2.Worker) -> Worker:
        """Makes it from the API's worker."""
        state = enum_word(cluster_pb2.WorkerState.DESCRIPTOR, worker.state, "WORKER_STATE_").lower()
        created = worker.create_time.ToDatetime(tzinfo=UTC)
        return cls(worker.name.rpartition("/")[2], worker.group, state, worker.address, created, worker.message)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may own clusters, and how they proved who they are."""

    name: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    method: str


def end_reason(reason: int) -> str:
    """Why a cluster ended, as a word such as "IDLE"; "" if it has not."""
    word = enum_word(cluster_pb2.EndReason.DESCRIPTOR, reason, "END_REASON_")
    return "" if word == "UNSPECIFIED" else word


def enum_word(descriptor: object, number: int, prefix: str) -> str:
    """Name of an enum's value without its prefix; a value from a newer headrace is its number."""
    values = cast("dict[int, object]", getattr(descriptor, "values_by_number", {}))
    name = str(getattr(values.get(number), "name", number))
    return name.removeprefix(prefix)


def _groups(cluster: cluster_pb2.Cluster) -> list[WorkerGroupReport]:
    seen = {group.name: group for group in cluster.status.worker_groups}
    reports: list[WorkerGroupReport] = []
    for group in cluster.spec.worker_groups:
        adapt = (group.adapt.minimum, group.adapt.maximum) if group.HasField("adapt") else None
        status = seen.get(group.name, cluster_pb2.WorkerGroupStatus())
        counts = (status.pending, status.running, status.retiring)
        reports.append(WorkerGroupReport(group.name, group.size, adapt, *counts))
    return reports


def _local_time(time: Timestamp) -> datetime:
    # Without a time zone, as dask-gateway has it: code compares it with datetime.now().
    return time.ToDatetime(tzinfo=UTC).astimezone().replace(tzinfo=None)
