"""Rules for workers: as many as desired, failed ones replaced, running ones closed only after they were retired."""

from __future__ import annotations

from dataclasses import replace

from headrace.v1.enums import ConditionStatus, ConditionType, EventType
from headrace_controller.backends.process import SCHEDULER, ProcessState
from headrace_controller.model import WorkerId, WorkerRecord, WorkerState
from headrace_controller.plan.counts import GroupCount
from headrace_controller.plan.decision import StartProcesses, StopProcesses
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.ending import Ending
from headrace_controller.plan.losses import record_losses
from headrace_controller.plan.sentences import count
from headrace_controller.plan.starting import count_failures, end_pauses, may_add, may_launch, reset_failures
from headrace_controller.plan.waits import follow_workers
from headrace_controller.plan.walk import Walk, record_turns, walk_through


def reconcile_workers(draft: Draft) -> Ending | None:
    """Follows, launches and stops workers."""
    if draft.cluster.generation != draft.status.observed_generation:
        end_pauses(draft)
    walk = walk_through(draft)
    reset_failures(draft, walk.joined)
    record_turns(draft, walk)
    follow_workers(draft)
    if (ending := count_failures(draft, [worker for worker in walk.failed if not worker.joined])) is not None:
        return ending
    for group in draft.counts.values():
        walk.ended += _close_surplus(draft, group)
        _add_missing(draft, group)
    _launch(draft)
    _stop(draft, walk)
    record_losses(draft)
    _drop_ended(draft, len(walk.ended))
    _set_ready(draft)
    return None


def _close_surplus(draft: Draft, group: GroupCount) -> list[WorkerId]:
    """Closes pending workers that are too many, the newest first; returns them."""
    if not group.surplus_pending:
        return []
    newest_first = group.pending[::-1]
    # A worker that had joined, and is being restarted, is the last to go.
    order = sorted(newest_first, key=lambda worker: worker.joined)
    closing = {worker.id: worker for worker in order[: group.surplus_pending]}
    for worker in closing.values():
        message = "Closed because fewer workers are wanted."
        draft.set_worker(replace(worker, state=WorkerState.CLOSED, since=draft.now, message=message, wait=None))
    group.pending = [worker for worker in group.pending if worker.id not in closing]
    return list(closing)


def _add_missing(draft: Draft, group: GroupCount) -> None:
    missing = group.missing
    if not missing or not _may_join(draft) or not may_add(draft, group.group):
        return
    made = draft.status.workers_made
    for n in range(made + 1, made + missing + 1):
        name = draft.new_id(group.group, n)
        worker = WorkerRecord(id=name, group=group.group, created=draft.now, since=draft.now)
        draft.set_worker(worker)
        group.add(worker)
    draft.status = replace(draft.status, workers_made=made + missing)
    draft.check_at(draft.now + draft.policy.worker_start_timeout)
    message = f"Starting {count(missing, 'worker')}{draft.of_group(group.group)}."
    draft.record_event(EventType.WORKERS_STARTING, message)


def _may_join(draft: Draft) -> bool:
    """Whether new workers would find their scheduler."""
    return draft.report.connected and bool(draft.report.scheduler_address)


def _launch(draft: Draft) -> None:
    for group in draft.counts.values():
        workers = tuple(worker.id for worker in group.pending if worker.id not in draft.seen.processes)
        if workers and _may_join(draft) and may_launch(draft, group.group):
            draft.actions.append(StartProcesses(workers))


def _stop(draft: Draft, walk: Walk) -> None:
    """Stops the processes of ended workers, and those that the record does not know."""
    processes = draft.seen.processes
    unwanted: list[str] = list(walk.ended)
    unwanted += [name for name in processes if name not in draft.workers and name != SCHEDULER]
    found = (processes.get(name) for name in unwanted)
    running = tuple(p.key.process for p in found if p is not None and p.state is not ProcessState.EXITED)
    if running:
        draft.actions.append(StopProcesses(running))


def _drop_ended(draft: Draft, ended: int) -> None:
    """Drops the oldest records of ended workers; those whose loss is not recorded yet stay."""
    surplus = ended - draft.policy.ended_workers_kept
    if surplus <= 0:
        return
    oldest = [worker.id for worker in draft.workers.values() if worker.state.ended][:surplus]
    for worker in oldest:
        if worker not in draft.losses:
            draft.drop_worker(worker)


def _set_ready(draft: Draft) -> None:
    groups = draft.counts.values()
    desired, running = sum(group.desired for group in groups), sum(group.running for group in groups)
    message = f"{running} of {count(desired, 'worker')} run."
    if all(group.running == group.desired for group in groups):
        draft.set_condition(ConditionType.WORKERS_READY, ConditionStatus.TRUE, message=message)
    else:
        draft.set_condition(ConditionType.WORKERS_READY, ConditionStatus.FALSE, "Scaling", message)
