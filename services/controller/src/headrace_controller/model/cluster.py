"""The record of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from headrace.access import Access
from headrace_controller.meter import Meter
from headrace_controller.model.ids import ClusterId, UserId, WorkerId
from headrace_controller.model.queued import Queued
from headrace_controller.model.report import Report
from headrace_controller.model.spec import Group, Spec
from headrace_controller.model.states import Phase
from headrace_controller.model.status import Status
from headrace_controller.model.worker import WorkerRecord


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
    status: Status = field(default=Status())
    workers: Mapping[WorkerId, WorkerRecord] = field(default_factory=dict[WorkerId, WorkerRecord])
    report: Report = field(default=Report())
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
