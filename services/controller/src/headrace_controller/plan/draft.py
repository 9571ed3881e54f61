"""A decision while it is being made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from headrace.v1.enums import ConditionStatus, ConditionType, EventType, ExitCause, WaitReason
from headrace_controller.backends.process import ProcessState
from headrace_controller.model import Backoff, Cluster, Condition, Event, Severity, WorkerId, WorkerRecord
from headrace_controller.plan.counts import GroupCounts
from headrace_controller.plan.decision import Action, Decision, NewWorkerId, Policy, Seen
from headrace_controller.worker_counts import Workers


class Draft:
    """What is known and what is decided so far.

    Whatever no rule changes stays the very object of the record, so that writers can compare by identity.
    """

    def __init__(self, cluster: Cluster, seen: Seen, now: float, policy: Policy, new_id: NewWorkerId) -> None:
        self.cluster = cluster
        self.spec = cluster.spec
        self.report = cluster.report
        self.seen = seen
        self.now = now
        self.policy = policy
        self.new_id = new_id
        self.status = cluster.status
        self.workers: Mapping[WorkerId, WorkerRecord] = cluster.workers
        self.backoffs: dict[str, Backoff] = dict(cluster.status.backoffs)
        self.losses: dict[WorkerId, float] = dict(cluster.status.losses)
        self.waits: dict[str, Mapping[WaitReason, float]] = dict(cluster.status.waits)
        self.counts = GroupCounts(cluster)  # filled when the workers are walked through
        self.conditions = {condition.type: condition for condition in cluster.status.conditions}
        self.actions: list[Action] = []
        self.events: list[Event] = []
        self.requeue_at: float | None = None
        self._changed_workers: Workers | None = None

    def record_event(
        self,
        kind: EventType,
        message: str,
        severity: Severity = Severity.INFO,
        *,
        wait: WaitReason | None = None,
        cause: ExitCause | None = None,
    ) -> None:
        """Adds an event."""
        self.events.append(
            Event(type=kind, message=message, severity=severity, time=self.now, wait=wait, exit_cause=cause)
        )

    def check_at(self, time: float) -> None:
        """Has the plan made again at that time, or earlier; never because of an infinite one."""
        if time == math.inf:
            return
        self.requeue_at = time if self.requeue_at is None else min(self.requeue_at, time)

    def reached(self, time: float) -> bool:
        """Whether the time has come; if not, the plan is made again then."""
        if self.now >= time:
            return True
        self.check_at(time)
        return False

    def set_worker(self, worker: WorkerRecord) -> None:
        """Adds or replaces a worker."""
        self._own_workers()[worker.id] = worker

    def drop_worker(self, worker: WorkerId) -> None:
        """Removes a worker's record."""
        del self._own_workers()[worker]

    def set_message(self, message: str) -> None:
        """Sets the sentence that people read of the cluster as a whole."""
        if message != self.status.message:
            self.status = replace(self.status, message=message)

    def set_condition(self, kind: ConditionType, status: ConditionStatus, reason: str = "", message: str = "") -> None:
        """Sets a condition; `changed` is the time at which its status last changed."""
        before = self.conditions.get(kind)
        changed = before.changed if before is not None and before.status is status else self.now
        self.conditions[kind] = Condition(
            type=kind,
            status=status,
            reason=reason,
            message=message,
            changed=changed,
            observed_generation=self.cluster.generation,
        )

    def running_processes(self) -> list[str]:
        """Names of the processes that have not exited."""
        return [name for name, process in self.seen.processes.items() if process.state is not ProcessState.EXITED]

    def of_group(self, group: str) -> str:
        """`` of group gpu``, to continue a number of workers; "" where there is only one group."""
        return "" if len(self.spec.groups) == 1 and self.spec.group(group) else f" of group {group}"

    def decision(self) -> Decision:
        """What was decided."""
        status = replace(
            self.status,
            observed_generation=self.cluster.generation,
            conditions=tuple(self.conditions.values()),
            backoffs=self.backoffs,
            losses=self.losses,
            waits=self.waits,
        )
        return Decision(
            status=self.cluster.status if status == self.cluster.status else status,
            workers=self.workers,
            actions=tuple(self.actions),
            events=tuple(self.events),
            requeue_at=self.requeue_at,
        )

    def _own_workers(self) -> Workers:
        if self._changed_workers is None:
            self.workers = self._changed_workers = Workers(self.cluster.workers)
        return self._changed_workers
