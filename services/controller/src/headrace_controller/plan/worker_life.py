"""What has become of one worker, from what its scheduler and the backend say of it."""

from __future__ import annotations

from dataclasses import replace

from headrace_controller.backends.base import ProcessState, ProcessStatus
from headrace_controller.model import WorkerRecord, WorkerState
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.sentences import how_it_ended


def settled(draft: Draft, worker: WorkerRecord) -> WorkerRecord:
    """Returns the record as it is now."""
    if worker.state.ended:
        return worker
    process = draft.seen.processes.get(worker.id)
    if worker.id in draft.report.retired:
        return _turned(draft, worker, WorkerState.CLOSED, "Retired; its data has moved to other workers.")
    if process is not None and process.state is ProcessState.EXITED:
        return _exited(draft, worker, process)
    if worker.id in draft.report.joined:
        return _joined(draft, worker, draft.report.joined[worker.id])
    if not draft.report.connected:  # nobody can tell whether it has joined or left
        return worker
    if worker.joined and process is None:
        return _turned(draft, worker, WorkerState.FAILED, "Its process is gone.")
    if worker.state is not WorkerState.PENDING:
        worker = _turned(draft, worker, WorkerState.PENDING, "Left the scheduler; waiting for its nanny to restart it.")
    return _in_time(draft, worker, process)


def _joined(draft: Draft, worker: WorkerRecord, address: str) -> WorkerRecord:
    if worker.state is WorkerState.RUNNING and worker.address == address:
        return worker
    return replace(_turned(draft, worker, WorkerState.RUNNING, ""), address=address, joined=True)


def _exited(draft: Draft, worker: WorkerRecord, process: ProcessStatus) -> WorkerRecord:
    as_it_should = worker.joined and process.exit_code == 0
    state = WorkerState.CLOSED if as_it_should else WorkerState.FAILED
    return _turned(draft, worker, state, f"Its process {how_it_ended(process)}.")


def _in_time(draft: Draft, worker: WorkerRecord, process: ProcessStatus | None) -> WorkerRecord:
    if process is not None and process.state is ProcessState.PENDING:  # the backend has no room: nobody's fault
        return replace(worker, message=process.message or "Waiting for room.")
    started = process.started if process is not None else 0.0
    timeout = draft.policy.worker_start_timeout
    deadline = max(worker.since, started, draft.report.changed, draft.seen.watching_since) + timeout
    if draft.now >= deadline:
        return _turned(draft, worker, WorkerState.FAILED, f"It did not join the scheduler within {timeout:g} s.")
    draft.look_at(deadline)
    return worker


def _turned(draft: Draft, worker: WorkerRecord, state: WorkerState, message: str) -> WorkerRecord:
    since = worker.since if worker.state is state else draft.now
    return replace(worker, state=state, since=since, message=message)
