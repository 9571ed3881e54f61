"""The plan: which rules apply to a cluster in its phase."""

from __future__ import annotations

from collections.abc import Callable

from headrace_controller.model import Cluster, Phase
from headrace_controller.plan.culling import cull, lifetime_reached, scheduler_shut_down
from headrace_controller.plan.decision import Decision, FetchLogTail, NewWorkerId, Policy, Seen
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.ending import Ending, begin_end, finish, stop_leftovers, stop_requested
from headrace_controller.plan.queueing import begin_start, budget_used_up, tell_of_waiting_workers, wait_for_room
from headrace_controller.plan.scheduler import reconcile_scheduler
from headrace_controller.plan.starting import set_startable
from headrace_controller.plan.workers import reconcile_workers

Rule = Callable[[Draft], Ending | None]
"""Decides one thing; returns why the cluster ends, if it does. The rules after it are then left out."""

_QUEUED: tuple[Rule, ...] = (stop_requested, budget_used_up, wait_for_room)
_STARTED: tuple[Rule, ...] = (
    stop_requested,
    lifetime_reached,
    cull,
    scheduler_shut_down,
    reconcile_scheduler,
    reconcile_workers,
    tell_of_waiting_workers,
    set_startable,
)


def plan(cluster: Cluster, seen: Seen, now: float, policy: Policy, new_id: NewWorkerId) -> Decision:
    """Decides the status and the workers of a cluster, and what to do for it.

    `cluster` must be the latest record: processes that it does not know are stopped.
    """
    draft = Draft(cluster, seen, now, policy, new_id)
    phase = cluster.status.phase
    if phase.ended:
        return stop_leftovers(draft)
    if phase is not Phase.STOPPING:
        begin_start(draft)
        ending = _first_ending(draft, _QUEUED if draft.status.phase is Phase.QUEUED else _STARTED)
        if ending is not None and ending.process is not None and ending.process not in seen.log_tail:
            return Decision(status=cluster.status, workers=cluster.workers, actions=(FetchLogTail(ending.process),))
        if ending is not None:
            begin_end(draft, ending)
    if draft.status.phase is Phase.STOPPING:
        finish(draft)
    return draft.decision()


def _first_ending(draft: Draft, rules: tuple[Rule, ...]) -> Ending | None:
    for rule in rules:
        if (ending := rule(draft)) is not None:
            return ending
    return None
