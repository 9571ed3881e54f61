"""What the controller observed and decided of a cluster, besides its workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.v1.enums import ConditionStatus, ConditionType, ExitCause, WaitReason
from headrace_controller.model.ids import WorkerId
from headrace_controller.model.states import EndReason, Phase


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
