"""The rules for workers: as many as wanted, the failed ones replaced, the running ones closed only when retired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headrace_controller.backends.base import SCHEDULER
from headrace_controller.model import EndReason, Group, Severity, WorkerRecord, WorkerState
from headrace_controller.plan.decision import StartProcesses, StopProcesses
from headrace_controller.plan.draft import Draft, Failure
from headrace_controller.plan.sentences import count
from headrace_controller.plan.worker_life import settled


def look_after_workers(draft: Draft) -> Failure | None:
    """Follows, starts and stops workers; returns why the cluster cannot go on, if so."""
    if draft.generation != draft.status.observed_generation:  # somebody wants something else: try it at once
        draft.status = replace(draft.status, retry_at=0.0)
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
    _tell_joined(draft, [worker for worker in turned if worker.state is WorkerState.RUNNING])
    _tell_gone(draft, "WorkersClosed", [w for w in turned if w.state is WorkerState.CLOSED], Severity.INFO)
    lost = [w for w in turned if w.joined and w.state in {WorkerState.PENDING, WorkerState.FAILED}]
    _tell_gone(draft, "WorkerLost", lost, Severity.WARNING)
    failed = [w for w in turned if not w.joined and w.state is WorkerState.FAILED]
    _tell_gone(draft, "WorkerFailed", failed, Severity.WARNING)
    return _count_failures(draft, failed)


def _count_failures(draft: Draft, failed: Sequence[WorkerRecord]) -> Failure | None:
    """Counts starts that failed, not workers: those that were started together count once."""
    latest = [worker for worker in failed if worker.created >= draft.status.retry_at]
    if not latest:
        return None
    failures = draft.status.failures + 1
    delay = min(draft.policy.retry_first * 2 ** min(failures - 1, 30), draft.policy.retry_longest)
    draft.status = replace(draft.status, failures=failures, retry_at=draft.now + delay)
    runs = any(worker.state is WorkerState.RUNNING for worker in draft.workers.values())
    if runs or failures < draft.policy.worker_failure_limit:
        return None
    message = f"Workers failed to start {failures} times in a row. The last: {latest[-1].message}"
    return Failure(reason=EndReason.WORKERS_FAILED, message=message, process=latest[-1].id)


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
    if missing <= 0 or not _may_start(draft):
        return
    if draft.now < draft.status.retry_at:
        draft.look_at(draft.status.retry_at)
        return
    made = draft.status.workers_made
    for n in range(made + 1, made + missing + 1):
        worker = draft.new_id(group.name, n)
        draft.workers[worker] = WorkerRecord(id=worker, group=group.name, created=draft.now, since=draft.now)
    draft.status = replace(draft.status, workers_made=made + missing)
    draft.look_at(draft.now + draft.policy.worker_start_timeout)
    draft.tell("WorkersStarting", f"Starting {count(missing, 'worker')}{_of(draft, group.name)}.")


def _may_start(draft: Draft) -> bool:
    """Workers that could not find their scheduler would wait in vain."""
    return draft.report.connected and bool(draft.report.scheduler_address)


def _start_and_stop(draft: Draft) -> None:
    wanted = {worker.id for worker in draft.workers.values() if not worker.state.ended}
    starting = [
        worker.id
        for worker in draft.workers.values()
        if worker.state is WorkerState.PENDING and worker.id not in draft.seen.processes
    ]
    if starting and _may_start(draft):
        draft.actions.append(StartProcesses(tuple(starting)))
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
    if not joined:
        return
    draft.status = replace(draft.status, failures=0, retry_at=0.0)
    for group in draft.spec.groups:
        if any(worker.group == group.name for worker in joined):
            running = len(draft.members(group.name, WorkerState.RUNNING))
            draft.tell("WorkersJoined", f"Now {running} of {count(group.wanted, 'worker')}{_of(draft, group.name)}.")


def _tell_gone(draft: Draft, kind: str, workers: Sequence[WorkerRecord], severity: Severity) -> None:
    if len(workers) == 1:
        draft.tell(kind, f"Worker {workers[0].id}: {workers[0].message}", severity)
    elif workers:
        draft.tell(kind, f"{len(workers)} workers, such as {workers[0].id}: {workers[0].message}", severity)


def _of(draft: Draft, group: str) -> str:
    return f" of group {group}" if len(draft.spec.groups) > 1 else ""
