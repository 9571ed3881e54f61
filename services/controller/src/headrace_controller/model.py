"""What a cluster is to the controller: plain values and their rules; no I/O.

A record has three parts, each with one writer: the `spec` (users, through the API), the `report` (whichever replica
holds the agent's session) and the `status` (the replica that holds the lease of the cluster's shard).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

ClusterId = NewType("ClusterId", str)
WorkerId = NewType("WorkerId", str)
UserId = NewType("UserId", str)

OptionValue = str | bool | int | float | list[str] | dict[str, str]

DEFAULT_GROUP = "default"


class Phase(StrEnum):
    """Where a cluster is in its life."""

    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in {Phase.STOPPED, Phase.FAILED}


class EndReason(StrEnum):
    """Why a cluster ended."""

    USER = "USER"
    IDLE = "IDLE"
    NO_CLIENT = "NO_CLIENT"
    LIFETIME = "LIFETIME"
    LIMIT = "LIMIT"
    BUDGET = "BUDGET"
    START_TIMEOUT = "START_TIMEOUT"
    SCHEDULER_LOST = "SCHEDULER_LOST"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    BACKEND_ERROR = "BACKEND_ERROR"
    WORKERS_FAILED = "WORKERS_FAILED"

    @property
    def failure(self) -> bool:
        """Whether a cluster that ends so has FAILED rather than STOPPED."""
        return self in _FAILURES


_FAILURES = frozenset(
    {
        EndReason.START_TIMEOUT,
        EndReason.SCHEDULER_LOST,
        EndReason.OUT_OF_MEMORY,
        EndReason.BACKEND_ERROR,
        EndReason.WORKERS_FAILED,
    }
)


class WorkerState(StrEnum):
    """Where a worker is in its life."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    RETIRING = "RETIRING"
    CLOSED = "CLOSED"
    FAILED = "FAILED"

    @property
    def alive(self) -> bool:
        """Whether it counts as one of its group's workers."""
        return self in {WorkerState.PENDING, WorkerState.RUNNING}

    @property
    def ended(self) -> bool:
        """Whether its process is to be gone."""
        return self in {WorkerState.CLOSED, WorkerState.FAILED}


class Severity(StrEnum):
    """How bad an event is."""

    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptRange:
    """Bounds of adaptive scaling."""

    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Workers of one shape; `options` differ from the cluster's."""

    name: str = DEFAULT_GROUP
    size: int = 0
    adapt: AdaptRange | None = None
    options: Mapping[str, OptionValue] = field(default_factory=dict[str, OptionValue])

    @property
    def wanted(self) -> int:
        """Number of workers to have: `size`, within the adapt range where there is one."""
        if self.adapt is None:
            return self.size
        return max(self.adapt.minimum, min(self.size, self.adapt.maximum))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What the owner wants. `stop` is set once somebody or something wants the cluster to end."""

    alias: str = ""
    options: Mapping[str, OptionValue] = field(default_factory=dict[str, OptionValue])
    groups: tuple[Group, ...] = (Group(),)
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    stop: EndReason | None = None

    def group(self, name: str) -> Group | None:
        """Returns the group of that name."""
        return next((group for group in self.groups if group.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the scheduler's agent told last.

    `session` and `sequence` order the messages: an older one never overwrites a newer one. `retired` are workers whose
    data has moved away; they stay here until the status calls them closed.
    """

    session: int = 0
    sequence: int = 0
    connected: bool = False
    changed: float = 0.0  # when `connected` last changed, seconds since the epoch
    holder: str = ""  # the replica that holds the session, which is no more once that replica is gone
    scheduler_address: str = ""
    dashboard_address: str = ""
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    joined: Mapping[WorkerId, str] = field(default_factory=dict[WorkerId, str])  # -> its address
    retired: frozenset[WorkerId] = frozenset()
    clients: int = 0
    idle_since: float | None = None
    route_version: str = ""  # version of the route that this report made; written by the store


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """A worker that the controller has decided to start."""

    id: WorkerId
    group: str
    state: WorkerState = WorkerState.PENDING
    address: str = ""
    created: float = 0.0
    since: float = 0.0  # when `state` last changed
    joined: bool = False  # whether it ever was RUNNING
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """A group whose last start failed."""

    failures: int  # starts in a row whose workers ended without having joined
    retry_at: float  # no worker of the group is made before
    message: str = ""  # what became of the last one


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A fact beside the phase."""

    type: str
    holds: bool
    reason: str = ""
    message: str = ""
    changed: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the controller last saw and decided."""

    phase: Phase = Phase.STARTING
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    workers: Mapping[WorkerId, WorkerRecord] = field(default_factory=dict[WorkerId, WorkerRecord])
    workers_made: int = 0  # numbers the ids of workers
    backoffs: Mapping[str, Backoff] = field(default_factory=dict[str, Backoff])  # by the names of their groups
    scheduler_created: float | None = None  # when the scheduler's start was decided
    started: float | None = None  # when the cluster first was RUNNING
    ended: float | None = None
    reason: EndReason | None = None
    message: str = ""
    log_tail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A record. `revision` grows with each write of any part, `generation` with each write of the spec."""

    id: ClusterId
    owner: UserId
    created: float
    spec: Spec
    status: Status = Status()
    report: Report = Report()
    generation: int = 1
    revision: int = 1

    @property
    def ending(self) -> EndReason | None:
        """Why it is to end: somebody or some rule wants it, or it cannot go on. None: it is to go on."""
        return self.spec.stop or (self.status.reason if self.status.phase is Phase.STOPPING else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a cluster. The store gives it its id."""

    type: str
    message: str
    severity: Severity = Severity.INFO
    time: float = 0.0
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a cluster is promised at most, with what its groups ask for now."""

    clusters: int = 0
    workers: int = 0
    cores_milli: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a :class:`Demand`; None binds nothing."""

    clusters: int | None = None
    workers: int | None = None
    cores_milli: int | None = None
    memory_bytes: int | None = None
