"""The rules for workers: as many as wanted, the failed ones replaced, the running ones closed only when retired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headrace_controller.backends.base import SCHEDULER
from headrace_controller.model import Group, Severity, WorkerRecord, WorkerState
from headrace_controller.plan.backoff import count_failures, forgive, may_ask, may_make, try_at_once
from headrace_controller.plan.decision import StartProcesses, StopProcesses
from headrace_controller.plan.draft import Draft, Failure
from headrace_controller.plan.sentences import count, of_group
from headrace_controller.plan.worker_life import settled


def look_after_workers(draft: Draft) -> Failure | None:
    """Follows, starts and stops workers; returns why the cluster cannot go on, if so."""
    if draft.generation != draft.status.observed_generation:  # somebody wants something else: try it at once
        try_at_once(draft)
    failure = _follow(draft)
    if failure is not None:
        return failure
    for group in draft.spec.groups:
        _close_unwanted(draft, group)
        _add_missing(draft, group)
    _start_and_stop(draft)
    _forget_ended(draft)
    _say_how_many(draft)
    return None


def _follow(draft: Draft) -> Failure | None:
    turned: list[WorkerRecord] = []
    for before in list(draft.workers.values()):
        worker = draft.workers[before.id] = settled(draft, before)
        if worker.state is not before.state:
            turned.append(worker)
    joined = [worker for worker in turned if worker.state is WorkerState.RUNNING]
    forgive(draft, joined)
    _tell_joined(draft, joined)
    _tell_gone(draft, "WorkersClosed", [w for w in turned if w.state is WorkerState.CLOSED], Severity.INFO)
    lost = [w for w in turned if w.joined and w.state in {WorkerState.PENDING, WorkerState.FAILED}]
    _tell_gone(draft, "WorkerLost", lost, Severity.WARNING)
    failed = [w for w in turned if not w.joined and w.state is WorkerState.FAILED]
    _tell_gone(draft, "WorkerFailed", failed, Severity.WARNING)
    return count_failures(draft, failed)


def _close_unwanted(draft: Draft, group: Group) -> None:
    pending = draft.members(group.name, WorkerState.PENDING)
    running = draft.members(group.name, WorkerState.RUNNING)
    unwanted = max(0, len(pending) + len(running) - group.wanted)
    newest_first = pending[::-1]
    # One that has joined before, and is being restarted, is the last to go.
    for worker in sorted(newest_first, key=lambda worker: worker.joined)[:unwanted]:
        draft.workers[worker.id] = replace(
            worker, state=WorkerState.CLOSED, since=draft.now, message="No longer wanted before it had joined."
        )


def _add_missing(draft: Draft, group: Group) -> None:
    missing = group.wanted - len(draft.members(group.name, WorkerState.PENDING, WorkerState.RUNNING))
    if missing <= 0 or not _may_start(draft) or not may_make(draft, group.name):
        return
    made = draft.status.workers_made
    for n in range(made + 1, made + missing + 1):
        worker = draft.new_id(group.name, n)
        draft.workers[worker] = WorkerRecord(id=worker, group=group.name, created=draft.now, since=draft.now)
    draft.status = replace(draft.status, workers_made=made + missing)
    draft.look_at(draft.now + draft.policy.worker_start_timeout)
    draft.tell("WorkersStarting", f"Starting {count(missing, 'worker')}{of_group(draft.spec, group.name)}.")


def _may_start(draft: Draft) -> bool:
    """Workers that could not find their scheduler would wait in vain."""
    return draft.report.connected and bool(draft.report.scheduler_address)


def _start_and_stop(draft: Draft) -> None:
    for group, workers in draft.unstarted().items():
        if _may_start(draft) and may_ask(draft, group):
            draft.actions.append(StartProcesses(tuple(workers)))
    wanted = {worker.id for worker in draft.workers.values() if not worker.state.ended}
    stopping = [process for process in draft.running_processes() if process != SCHEDULER and process not in wanted]
    if stopping:
        draft.actions.append(StopProcesses(tuple(stopping)))


def _forget_ended(draft: Draft) -> None:
    ended = [worker.id for worker in draft.workers.values() if worker.state.ended]
    for worker in ended[: -draft.policy.ended_workers_kept]:
        del draft.workers[worker]


def _say_how_many(draft: Draft) -> None:
    wanted = sum(group.wanted for group in draft.spec.groups)
    running = {group.name: len(draft.members(group.name, WorkerState.RUNNING)) for group in draft.spec.groups}
    ready = all(running[group.name] == group.wanted for group in draft.spec.groups)
    message = f"{sum(running.values())} of {count(wanted, 'worker')} run."
    draft.state("WorkersReady", holds=ready, reason="" if ready else "Scaling", message=message)


def _tell_joined(draft: Draft, joined: Sequence[WorkerRecord]) -> None:
    for group in draft.spec.groups:
        if any(worker.group == group.name for worker in joined):
            running = len(draft.members(group.name, WorkerState.RUNNING))
            draft.tell(
                "WorkersJoined", f"Now {running} of {count(group.wanted, 'worker')}{of_group(draft.spec, group.name)}."
            )


def _tell_gone(draft: Draft, kind: str, workers: Sequence[WorkerRecord], severity: Severity) -> None:
    if len(workers) == 1:
        draft.tell(kind, f"Worker {workers[0].id}: {workers[0].message}", severity)
    elif workers:
        draft.tell(kind, f"{len(workers)} workers, such as {workers[0].id}: {workers[0].message}", severity)
