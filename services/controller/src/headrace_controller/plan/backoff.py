"""Starts that fail are repeated after pauses that grow: of each group by itself, and of the scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from headrace_controller.model import Backoff, EndReason, WorkerRecord, WorkerState
from headrace_controller.plan.draft import Draft, Failure


def may_ask(draft: Draft, group: str | None) -> bool:
    """Whether the backend may be asked to start workers of a group, or the scheduler; if not, it is looked at later."""
    trouble = draft.seen.troubles.get(group)
    return trouble is None or _is_past(draft, trouble.retry_at)


def may_make(draft: Draft, group: str) -> bool:
    """Whether the group may get new workers; if not, it is looked at later."""
    backoff = draft.backoffs.get(group)
    return backoff is None or _is_past(draft, backoff.retry_at)


def try_at_once(draft: Draft) -> None:
    """Ends all pauses; what has failed is still known."""
    draft.backoffs = {group: replace(backoff, retry_at=0.0) for group, backoff in draft.backoffs.items()}


def forgive(draft: Draft, joined: Iterable[WorkerRecord]) -> None:
    """Forgets the failures of groups that workers have joined."""
    for worker in joined:
        draft.backoffs.pop(worker.group, None)


def count_failures(draft: Draft, failed: Sequence[WorkerRecord]) -> Failure | None:
    """Counts starts that failed, not workers: those of a group that were started together count once."""
    latest = [worker for worker in failed if worker.created >= _retry_at(draft, worker.group)]
    for group in {worker.group: None for worker in latest}:
        _count(draft, group, [worker for worker in latest if worker.group == group][-1])
    if not latest or not _hopeless(draft):
        return None
    last = latest[-1]
    failures = draft.backoffs[last.group].failures
    message = f"Workers failed to start {failures} times in a row. The last: {last.message}"
    return Failure(reason=EndReason.WORKERS_FAILED, message=message, process=last.id)


def _count(draft: Draft, group: str, last: WorkerRecord) -> None:
    before = draft.backoffs.get(group)
    failures = 1 + (before.failures if before else 0)
    delay = min(draft.policy.retry_first * 2 ** min(failures - 1, 30), draft.policy.retry_longest)
    draft.backoffs[group] = Backoff(failures=failures, retry_at=draft.now + delay, message=last.message)


def _hopeless(draft: Draft) -> bool:
    """Whether no worker runs, and every group that is to have some has failed too often."""
    if any(worker.state is WorkerState.RUNNING for worker in draft.workers.values()):
        return False
    wanting = [group.name for group in draft.spec.groups if group.wanted]
    failures = [draft.backoffs[name].failures if name in draft.backoffs else 0 for name in wanting]
    return bool(failures) and min(failures) >= draft.policy.worker_failure_limit


def _retry_at(draft: Draft, group: str) -> float:
    return draft.backoffs[group].retry_at if group in draft.backoffs else 0.0


def _is_past(draft: Draft, time: float) -> bool:
    if draft.now >= time:
        return True
    draft.look_at(time)
    return False
