"""A decision while it is being made."""

from __future__ import annotations

from dataclasses import dataclass, replace

from headrace_controller.backends.base import ProcessState
from headrace_controller.model import (
    Backoff,
    Cluster,
    Condition,
    EndReason,
    Event,
    Report,
    Severity,
    Spec,
    WorkerId,
    WorkerRecord,
    WorkerState,
)
from headrace_controller.plan.decision import Action, Decision, NewWorkerId, Policy, Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a cluster has to end; `process` is the one whose log tells more."""

    reason: EndReason
    message: str
    process: str


class Draft:
    """What is known, and what is decided so far."""

    def __init__(self, cluster: Cluster, seen: Seen, now: float, policy: Policy, new_id: NewWorkerId) -> None:
        self.generation = cluster.generation
        self.spec: Spec = cluster.spec
        self.report: Report = cluster.report
        self.seen = seen
        self.now = now
        self.policy = policy
        self.new_id = new_id
        self.status = cluster.status
        self.workers: dict[WorkerId, WorkerRecord] = dict(cluster.status.workers)
        self.backoffs: dict[str, Backoff] = dict(cluster.status.backoffs)
        self.actions: list[Action] = []
        self.events: list[Event] = []
        self.look_again: float | None = None

    def tell(self, kind: str, message: str, severity: Severity = Severity.INFO) -> None:
        """Adds an event."""
        self.events.append(Event(type=kind, message=message, severity=severity, time=self.now))

    def look_at(self, time: float) -> None:
        """Has the plan made again by then."""
        self.look_again = time if self.look_again is None else min(self.look_again, time)

    def running(self, process: str) -> bool:
        """Whether the backend has this process, and it has not ended."""
        status = self.seen.processes.get(process)
        return status is not None and status.state is not ProcessState.EXITED

    def running_processes(self) -> list[str]:
        """The processes that have not ended."""
        return [process for process in self.seen.processes if self.running(process)]

    def members(self, group: str, *states: WorkerState) -> list[WorkerRecord]:
        """The group's workers in these states, oldest first."""
        return [worker for worker in self.workers.values() if worker.group == group and worker.state in states]

    def unstarted(self) -> dict[str, list[WorkerId]]:
        """By group, the workers that the backend does not have yet."""
        found: dict[str, list[WorkerId]] = {}
        for worker in self.workers.values():
            if worker.state is WorkerState.PENDING and worker.id not in self.seen.processes:
                found.setdefault(worker.group, []).append(worker.id)
        return found

    def condition(self, kind: str) -> Condition | None:
        """A condition as it is so far."""
        return next((condition for condition in self.status.conditions if condition.type == kind), None)

    def holds(self, kind: str) -> bool:
        """Whether a condition holds so far."""
        condition = self.condition(kind)
        return condition is not None and condition.holds

    def state(self, kind: str, *, holds: bool, reason: str = "", message: str = "") -> None:
        """Sets a condition; its time is that of the last turn."""
        others = {condition.type: condition for condition in self.status.conditions}
        before = others.get(kind)
        changed = before.changed if before is not None and before.holds == holds else self.now
        others[kind] = Condition(type=kind, holds=holds, reason=reason, message=message, changed=changed)
        self.status = replace(self.status, conditions=tuple(others.values()))

    def decision(self) -> Decision:
        """What was decided."""
        return Decision(
            status=replace(self.status, workers=self.workers, backoffs=self.backoffs),
            actions=tuple(self.actions),
            events=tuple(self.events),
            look_again=self.look_again,
        )
