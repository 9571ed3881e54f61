"""The controller's values and their rules; no I/O.

A record has parts with one writer each: `spec` (clients, through the API), `targets` (adaptive scaling, through the
replica that holds the agent's session), `report` (that replica) and `status` with `workers` (the replica that holds the
lease of the cluster's shard).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NewType

from headrace.access import Access, Share
from headrace.open_enum import OpenEnum
from headrace.option_types import OptionValue
from headrace.v1.enums import ConditionStatus, ConditionType, EventType, ExitCause, WaitReason
from headrace_controller.meter import Meter

ClusterId = NewType("ClusterId", str)
WorkerId = NewType("WorkerId", str)
UserId = NewType("UserId", str)

DEFAULT_GROUP = "default"


class Phase(StrEnum):
    """Position in a cluster's life. A record in one that this release does not know is set aside."""

    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self in {Phase.STOPPED, Phase.FAILED}


class EndReason(OpenEnum):
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
    QUEUE_TIMEOUT = "QUEUE_TIMEOUT"
    IMAGE_UNAVAILABLE = "IMAGE_UNAVAILABLE"
    REFUSED = "REFUSED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    EVICTED = "EVICTED"
    PREEMPTED = "PREEMPTED"
    NODE_LOST = "NODE_LOST"
    DELETED = "DELETED"

    @property
    def failure(self) -> bool:
        """Whether the cluster is FAILED afterwards, rather than STOPPED."""
        return self in _FAILURES


_FAILURES = frozenset(
    {
        EndReason.START_TIMEOUT,
        EndReason.SCHEDULER_LOST,
        EndReason.OUT_OF_MEMORY,
        EndReason.BACKEND_ERROR,
        EndReason.WORKERS_FAILED,
        EndReason.QUEUE_TIMEOUT,
        EndReason.IMAGE_UNAVAILABLE,
        EndReason.REFUSED,
        EndReason.QUOTA_EXCEEDED,
        EndReason.EVICTED,
        EndReason.PREEMPTED,
        EndReason.NODE_LOST,
        EndReason.DELETED,
    }
)


class WorkerState(StrEnum):
    """Position in a worker's life. A record with one that this release does not know is set aside."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    RETIRING = "RETIRING"
    CLOSED = "CLOSED"
    FAILED = "FAILED"

    @property
    def alive(self) -> bool:
        """Whether it counts towards its group's size."""
        return self in {WorkerState.PENDING, WorkerState.RUNNING}

    @property
    def ended(self) -> bool:
        """Whether its process must not run."""
        return self in {WorkerState.CLOSED, WorkerState.FAILED}


class Severity(OpenEnum):
    """Severity of an event."""

    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a process may use. `memory_bytes` 0 means no limit."""

    cores: float = 0.0
    memory_bytes: int = 0
    gpus: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptRange:
    """Range of adaptive scaling. `maximum` None means as many as the limits allow."""

    minimum: int
    maximum: int | None = None

    def clamp(self, size: int) -> int:
        """The size within the range that is closest."""
        size = max(self.minimum, size)
        return size if self.maximum is None else min(self.maximum, size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Workers of one shape; `options` differ from the cluster's. `size` is within `adapt` where that is set."""

    name: str = DEFAULT_GROUP
    size: int = 0
    adapt: AdaptRange | None = None
    options: Mapping[str, OptionValue] = field(default_factory=dict[str, OptionValue])


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What clients want.

    Attributes
    ----------
    profile
        Key of the profile; resolved when the cluster is created, never empty afterwards.
    backend
        Name of the profile's backend when the cluster was created. Empty for one of an earlier release.
    fixed
        What the backend holds for the cluster's life, as the settings of the profile were when the cluster was created:
        by role, and by ``worker/{group}`` for groups of workers that differ. Options that a user has given come first.
    lifetime
        Seconds after its creation at which the cluster is stopped. None means never.
    stop
        Whether a client asked to stop it.
    touched
        Time at which a user last changed the cluster; it counts as activity.
    keep_until, kept
        Time until which a user has put culling off, and the seconds for which users have done so in all.
    cull_before
        Culling does at once what it has warned of before this time, because a user asked for it.
    """

    alias: str = ""
    profile: str = ""
    backend: str = ""
    options: Mapping[str, OptionValue] = field(default_factory=dict[str, OptionValue])
    fixed: Mapping[str, Mapping[str, OptionValue]] = field(default_factory=dict[str, Mapping[str, OptionValue]])
    groups: tuple[Group, ...] = (Group(),)
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    lifetime: float | None = None
    shares: tuple[Share, ...] = ()
    stop: bool = False
    touched: float = 0.0
    keep_until: float | None = None
    kept: float = 0.0
    cull_before: float = 0.0

    def group(self, name: str) -> Group | None:
        """The group of that name."""
        return next((group for group in self.groups if group.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """What a worker's leaving cost, as its scheduler counted it, and how its process ended, as its nanny saw it.

    Attributes
    ----------
    memory_limit_bytes
        Limit that its process exceeded; 0 if it did not.
    exit_code
        Of its process, negative for a signal; 0 if unknown or as intended.
    """

    tasks_lost: int = 0
    results_lost: int = 0
    scattered_lost: int = 0
    memory_limit_bytes: int = 0
    exit_code: int = 0

    def __add__(self, later: Departure) -> Departure:
        return Departure(
            tasks_lost=self.tasks_lost + later.tasks_lost,
            results_lost=self.results_lost + later.results_lost,
            scattered_lost=self.scattered_lost + later.scattered_lost,
            memory_limit_bytes=later.memory_limit_bytes or self.memory_limit_bytes,
            exit_code=later.exit_code or self.exit_code,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the scheduler's agent reported last.

    Attributes
    ----------
    session, sequence
        Order the messages: an older one never overwrites a newer one.
    connected
        Whether the agent has a session; `changed` is the time at which that last changed.
    holder
        Replica that holds the session.
    joined
        Address of each worker that has joined.
    retired
        Workers whose data has moved; kept until their records are closed.
    departures
        What each worker that left otherwise cost; kept until its loss is recorded.
    closing
        Why the scheduler is about to end by itself; None while it is not.
    silent_since
        Time since which the scheduler's event loop gives no sign of life although its agent is connected; None while it
        does.
    clients, idle_since
        Connected clients; time since which the scheduler is idle, None while it is busy.
    route_version
        Version of the route that this report wrote; set by the store.
    """

    session: int = 0
    sequence: int = 0
    connected: bool = False
    changed: float = 0.0
    holder: str = ""
    scheduler_address: str = ""
    dashboard_address: str = ""
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    joined: Mapping[WorkerId, str] = field(default_factory=dict[WorkerId, str])
    retired: frozenset[WorkerId] = frozenset()
    departures: Mapping[WorkerId, Departure] = field(default_factory=dict[WorkerId, Departure])
    closing: EndReason | None = None
    silent_since: float | None = None
    clients: int = 0
    idle_since: float | None = None
    route_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a process exited. `code` is negative for a signal, None if unknown."""

    cause: ExitCause
    code: int | None = None
    time: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """A worker that the controller has decided to launch."""

    id: WorkerId
    group: str
    state: WorkerState = WorkerState.PENDING
    address: str = ""
    host: str = ""
    created: float = 0.0
    since: float = 0.0  # time at which `state` last changed
    joined: bool = False  # whether it ever was RUNNING
    message: str = ""
    exit: Exit | None = None
    wait: WaitReason | None = None  # why its process does not run yet
    leaving: ExitCause | None = None  # why others than headrace were ending its process when that was last seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """A group whose last launch failed."""

    failures: int  # consecutive launches whose workers ended without having joined
    retry_at: float  # no worker of the group is launched before; infinite: until a user changes the cluster
    message: str = ""  # how the last one failed
    cause: ExitCause | None = None  # of the last one


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A fact besides the phase."""

    type: ConditionType
    status: ConditionStatus
    reason: str = ""
    message: str = ""
    changed: float = 0.0
    observed_generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the controller observed and decided, without the workers."""

    phase: Phase = Phase.STARTING
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    workers_made: int = 0  # numbers the ids of workers
    backoffs: Mapping[str, Backoff] = field(default_factory=dict[str, Backoff])  # by group
    losses: Mapping[WorkerId, float] = field(default_factory=dict[WorkerId, float])  # times; not recorded as events yet
    scheduler_created: float | None = None  # time at which the scheduler's launch was decided
    started: float | None = None  # time at which the cluster first was RUNNING
    ended: float | None = None
    reason: EndReason | None = None
    message: str = ""
    log_tail: str = ""
    warnings: Mapping[str, float] = field(default_factory=dict[str, float])  # of culling: times, by `Finding.key`
    waits: Mapping[str, Mapping[WaitReason, float]] = field(
        default_factory=dict[str, Mapping[WaitReason, float]]
    )  # by group, "" for the scheduler, why processes wait to run, and since when
    leaving: ExitCause | None = None  # why others than headrace are ending the scheduler
    traceparent: str = ""  # of the call that created the cluster, if it was traced


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A wait for room: of a cluster to start, or of more workers of one that has started. The store writes it.

    Attributes
    ----------
    turn
        Its place in the order of the queue: lower ones come first.
    subject, resource, most, used, asked
        The limit that it waits for: whose, of what, and how much was used when it was last tried.
    timeout
        Seconds after which it gives up. None means never.
    never
        Whether that limit is below what it asks for, so that no wait can help; of workers: below a single one more.
    admitted
        Time at which it got its room to start. None while it waits for that.
    granted
        By group, the number of workers that it has while others of the group wait. Empty if no workers wait.
    """

    since: float
    turn: float
    subject: str
    resource: str
    most: int
    used: int
    asked: int
    timeout: float | None = None
    never: bool = False
    admitted: float | None = None
    granted: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def waits(self) -> bool:
        """Whether it still waits."""
        return self.admitted is None or bool(self.granted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A record.

    Attributes
    ----------
    groups
        Groups of the owner when the cluster was created.
    queued
        Its last wait in the queue. None if all that it asked for was admitted at once.
    targets
        By worker group, the number of workers that adaptive scaling last asked for, within the group's range.
    workers
        Workers by id, oldest first; ended ones are kept for some time.
    generation
        Number of writes of the spec, from 1.
    revision
        Grows with each write of any part.
    meter
        What it has used.
    """

    id: ClusterId
    owner: UserId
    created: float
    spec: Spec
    groups: tuple[str, ...] = ()
    targets: Mapping[str, int] = field(default_factory=dict[str, int])
    status: Status = Status()
    workers: Mapping[WorkerId, WorkerRecord] = field(default_factory=dict[WorkerId, WorkerRecord])
    report: Report = Report()
    queued: Queued | None = None
    generation: int = 1
    revision: int = 1
    meter: Meter = field(default=Meter(), compare=False)

    @property
    def access(self) -> Access:
        """Whose it is."""
        return Access(self.owner, self.groups, self.spec.shares)

    @property
    def begun(self) -> float | None:
        """Time at which it was admitted: when it was created, unless it waits or waited in the queue."""
        return self.created if self.queued is None else self.queued.admitted

    @property
    def start_trace(self) -> str:
        """The traceparent that spans of its start are below. "" once it has started, or if nobody traces."""
        return self.status.traceparent if self.status.phase in (Phase.QUEUED, Phase.STARTING) else ""

    @property
    def stopping(self) -> bool:
        """Whether it is ending or has ended."""
        return self.spec.stop or self.status.phase is Phase.STOPPING or self.status.phase.ended

    def wanted(self, group: Group) -> int:
        """Number of workers that users want in a group: its size, or what adaptive scaling last asked for."""
        return self.targets.get(group.name, group.size) if group.adapt else group.size

    def desired(self, group: Group) -> int:
        """Number of workers that a group is to have: those wanted without those that wait for room."""
        wanted = self.wanted(group)
        return wanted if self.queued is None else min(wanted, self.queued.granted.get(group.name, wanted))

    def with_all_granted(self) -> Cluster:
        """The cluster as it would be if none of its workers waited for room."""
        if self.queued is None or not self.queued.granted:
            return self
        return replace(self, queued=replace(self.queued, granted={}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a cluster. The store gives it its id.

    Attributes
    ----------
    wait
        Why the processes that it tells of wait.
    exit_cause
        Why the processes that it tells of have ended, are being ended or cannot start.
    """

    type: EventType
    message: str
    severity: Severity = Severity.INFO
    time: float = 0.0
    id: str = ""
    wait: WaitReason | None = None
    exit_cause: ExitCause | None = None


class Demand(Counter[str]):
    """What a cluster is promised at most, with the sizes that its groups have now: amounts by resource."""


class Limits(dict[str, int]):
    """Bounds of a :class:`Demand` by resource. One that is missing is not bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitException:
    """A limit that an admin has set for a while, instead of the policy's.

    Attributes
    ----------
    subject
        ``users/{user}`` or ``groups/{group}``.
    begun, ends
        Seconds since the epoch.
    by
        The admin.
    """

    subject: str
    resource: str
    bound: int
    begun: float
    ends: float
    by: UserId
    reason: str = ""
