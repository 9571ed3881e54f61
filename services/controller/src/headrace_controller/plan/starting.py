"""Launches that fail are retried after growing pauses, of each group by itself; a condition says what cannot start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from headrace.v1.enums import ConditionStatus, ConditionType, EventType, ExitCause
from headrace_controller.backends.process import SCHEDULER
from headrace_controller.model import Backoff, EndReason, Severity, WorkerRecord
from headrace_controller.plan.counts import GroupCount
from headrace_controller.plan.decision import StartProcesses
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.ending import Ending
from headrace_controller.plan.exit_causes import CANNOT_START, ENDED_BY_OTHERS
from headrace_controller.plan.sentences import advice, lower_first

_BACKEND_FAILED, _START_FAILED = "BackendFailed", "StartFailed"


def may_launch(draft: Draft, group: str | None) -> bool:
    """Whether the backend may be asked now to launch workers of a group; None is the scheduler."""
    error = draft.seen.start_errors.get(group)
    # After a refusal for good, the group itself pauses; workers that are wanted later were never refused.
    return error is None or error.cause is not None or draft.reached(error.retry_at)


def may_add(draft: Draft, group: str) -> bool:
    """Whether the group may get new workers now."""
    backoff = draft.backoffs.get(group)
    return backoff is None or draft.reached(backoff.retry_at)


def end_pauses(draft: Draft) -> None:
    """Ends the pauses of all groups; failures still count, but for groups that were removed."""
    draft.backoffs = {
        group: replace(backoff, retry_at=0.0) for group, backoff in draft.backoffs.items() if draft.spec.group(group)
    }


def reset_failures(draft: Draft, joined: Sequence[WorkerRecord]) -> None:
    """Clears the failures of groups that workers have joined."""
    for worker in joined:
        draft.backoffs.pop(worker.group, None)


def count_failures(draft: Draft, failed: Sequence[WorkerRecord]) -> Ending | None:
    """Counts launches that failed, not workers: those of a group that were launched together count once."""
    latest = [worker for worker in failed if _is_new(draft, worker)]
    for group, last in {worker.group: worker for worker in latest}.items():
        _count(draft, group, last)
    if not _all_groups_fail(draft):
        return None
    counted = [worker for worker in failed if worker.group in draft.backoffs]
    if not counted:
        return None
    last = counted[-1]
    cause, failures = _cause(last), draft.backoffs[last.group].failures
    if cause in CANNOT_START:
        message = f"No worker can be started. The failure: {lower_first(last.message)}{advice(cause)}"
        return Ending(EndReason.WORKERS_FAILED, message, cause=cause)
    message = f"Workers failed to start {failures} times in a row. The last failure: {lower_first(last.message)}"
    return Ending(EndReason.WORKERS_FAILED, message, last.id, cause)


def _cause(worker: WorkerRecord) -> ExitCause | None:
    return worker.exit.cause if worker.exit else None


def _is_new(draft: Draft, worker: WorkerRecord) -> bool:
    """Whether the worker's launch was not counted yet, and its group still exists."""
    backoff = draft.backoffs.get(worker.group)
    return draft.spec.group(worker.group) is not None and (backoff is None or worker.created >= backoff.retry_at)


def _count(draft: Draft, group: str, last: WorkerRecord) -> None:
    before = draft.backoffs.get(group)
    failures = 1 + (before.failures if before else 0)
    pause = min(draft.policy.retry_first * 2 ** min(failures - 1, 30), draft.policy.retry_longest)
    cause = _cause(last)
    if cause in CANNOT_START:
        failures = max(failures, draft.policy.worker_failure_limit)
        # A quota has room again when others have ended. All else is as it is until somebody changes something.
        pause = draft.policy.retry_longest if cause is ExitCause.QUOTA_EXCEEDED else math.inf
    draft.backoffs[group] = Backoff(failures=failures, retry_at=draft.now + pause, message=last.message, cause=cause)


def _all_groups_fail(draft: Draft) -> bool:
    """Whether no worker runs, and every group that should have workers has failed too often."""
    if any(count.running for count in draft.counts.values()):
        return False
    wanting = [count for count in draft.counts.values() if count.desired]
    return bool(wanting) and all(_fails(draft, count) for count in wanting)


def _fails(draft: Draft, count: GroupCount) -> bool:
    backoff = draft.backoffs.get(count.group)
    if backoff is None or backoff.failures < draft.policy.worker_failure_limit or backoff.cause in ENDED_BY_OTHERS:
        return False
    # That a quota has no room for some says nothing about those that it had room for.
    return backoff.cause not in CANNOT_START or not any(worker.id in draft.seen.processes for worker in count.pending)


def set_startable(draft: Draft) -> None:
    """Sets the condition Startable; while a launch is under way it stays as it was."""
    errors = _start_errors(draft)
    sentences = [*errors, *_failures(draft)]
    if sentences:
        known = draft.conditions.get(ConditionType.STARTABLE)
        if errors and (known is None or known.reason != _BACKEND_FAILED):
            draft.record_event(EventType.BACKEND_FAILED, " ".join(errors), Severity.WARNING)
        reason = _BACKEND_FAILED if errors else _START_FAILED
        draft.set_condition(ConditionType.STARTABLE, ConditionStatus.FALSE, reason, " ".join(sentences))
    elif not any(isinstance(action, StartProcesses) for action in draft.actions):
        draft.set_condition(ConditionType.STARTABLE, ConditionStatus.TRUE)


def _start_errors(draft: Draft) -> list[str]:
    """What the backend could not launch and is still wanted."""
    errors, processes = draft.seen.start_errors, draft.seen.processes
    if not errors:
        return []
    missing: dict[str | None, str] = {} if SCHEDULER in processes else {None: "The scheduler"}
    for group, count in draft.counts.items():
        if any(worker.id not in processes for worker in count.pending):
            missing[group] = f"Workers{draft.of_group(group)}"
    return [
        f"{who} cannot be started: {errors[group].message.rstrip('.')}."
        for group, who in missing.items()
        if group in errors
    ]


def _failures(draft: Draft) -> list[str]:
    """How the last launch of each group failed that still misses workers."""
    return [
        f"Workers{draft.of_group(group)} fail to start. The last failure: {lower_first(backoff.message)}"
        for group, backoff in draft.backoffs.items()
        if draft.counts[group].running < draft.counts[group].desired
    ]
