"""Makes plans, and reads what they decided."""

from __future__ import annotations

from typing import Any

from tests.controller.builders import NOW, process

from headrace.v1.enums import ConditionStatus, ConditionType, EventType
from headrace_controller.backends.process import ProcessStatus
from headrace_controller.model import Cluster, WorkerId, WorkerState
from headrace_controller.plan import Decision, Policy, RouteState, Seen, plan

ROUTED = RouteState(routed=True)


def new_id(group: str, n: int) -> WorkerId:
    return WorkerId(f"{group}-{n}")


def decide(
    cluster: Cluster, *processes: ProcessStatus, now: float = NOW, policy: Policy | None = None, **seen: Any
) -> Decision:
    """Plans with these processes, by default those that the record has; `seen` are attributes of :class:`Seen`."""
    found = processes or (process(), *(process(w.id) for w in cluster.workers.values() if not w.state.ended))
    table = {status.key.process: status for status in found}
    facts: dict[str, Any] = {"processes": table, "route": ROUTED, **seen}
    return plan(cluster, Seen(**facts), now, policy or Policy(), new_id)


def states(decision: Decision) -> dict[str, WorkerState]:
    return {name: worker.state for name, worker in decision.workers.items()}


def kinds(decision: Decision) -> list[EventType]:
    return [event.type for event in decision.events]


def messages(decision: Decision, kind: EventType) -> list[str]:
    return [event.message for event in decision.events if event.type is kind]


def conditions(decision: Decision) -> dict[ConditionType, tuple[ConditionStatus, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in decision.status.conditions}
