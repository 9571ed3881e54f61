"""Derives a worker's record from what its scheduler and the backend report."""

from __future__ import annotations

from dataclasses import replace

from headrace.v1.enums import ExitCause
from headrace_controller.backends.process import ProcessState, ProcessStatus
from headrace_controller.model import Exit, WorkerRecord, WorkerState
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.sentences import describe_exit, duration


def current(draft: Draft, worker: WorkerRecord, process: ProcessStatus | None) -> WorkerRecord:
    """Returns the record as it is now; the same object if nothing has changed."""
    worker = with_process(worker, process, draft.now)
    if worker.state.ended:
        return worker
    if worker.id in draft.report.retired:
        return _turned(draft, worker, WorkerState.CLOSED, "Its data has moved to other workers.")
    if process is not None and process.state is ProcessState.EXITED:
        return _exited(draft, worker, process)
    if (address := draft.report.joined.get(worker.id)) is not None:
        return _joined(draft, worker, address)
    if not draft.report.connected:  # whether it has joined or left is unknown
        return worker
    return _not_joined(draft, worker, process)


def _not_joined(draft: Draft, worker: WorkerRecord, process: ProcessStatus | None) -> WorkerRecord:
    if worker.joined and process is None:
        return _turned(draft, worker, WorkerState.FAILED, "Its process is gone.")
    if worker.state is not WorkerState.PENDING:
        worker = _turned(draft, worker, WorkerState.PENDING, "It left the scheduler and has not joined again yet.")
    return _check_start(draft, worker, process)


def with_process(worker: WorkerRecord, process: ProcessStatus | None, now: float) -> WorkerRecord:
    """Adds the host and the exit that the backend reports."""
    if process is None:
        return worker
    if process.host and process.host != worker.host:
        worker = replace(worker, host=process.host)
    if process.state is ProcessState.EXITED and worker.exit is None:
        cause = process.exit_cause or ExitCause.EXITED
        worker = replace(worker, exit=Exit(cause=cause, code=process.exit_code, time=now))
    return worker


def _joined(draft: Draft, worker: WorkerRecord, address: str) -> WorkerRecord:
    if worker.state is WorkerState.RUNNING and worker.address == address:
        return worker
    return replace(_turned(draft, worker, WorkerState.RUNNING, ""), address=address, joined=True)


def _exited(draft: Draft, worker: WorkerRecord, process: ProcessStatus) -> WorkerRecord:
    as_intended = worker.joined and process.exit_code == 0
    state = WorkerState.CLOSED if as_intended else WorkerState.FAILED
    return _turned(draft, worker, state, f"Its process {describe_exit(process)}.")


def _check_start(draft: Draft, worker: WorkerRecord, process: ProcessStatus | None) -> WorkerRecord:
    if process is not None and process.state is ProcessState.PENDING:  # the backend has no room: nobody's fault
        message = process.message or "Waiting for room."
        return worker if worker.message == message else replace(worker, message=message)
    if worker.message and not worker.joined:
        worker = replace(worker, message="")  # there is room now
    started = process.started if process is not None else 0.0
    timeout = draft.policy.worker_start_timeout
    if not draft.reached(max(worker.since, started, draft.report.changed, draft.seen.watching_since) + timeout):
        return worker
    return _turned(draft, worker, WorkerState.FAILED, f"It did not join the scheduler within {duration(timeout)}.")


def _turned(draft: Draft, worker: WorkerRecord, state: WorkerState, message: str) -> WorkerRecord:
    since = worker.since if worker.state is state else draft.now
    return replace(worker, state=state, since=since, message=message)
