"""Derives a worker's record from what its scheduler and the backend report."""

from __future__ import annotations

from dataclasses import replace

from headrace.v1.enums import ExitCause, WaitReason
from headrace_controller.backends.process import ProcessState, ProcessStatus
from headrace_controller.model import Exit, WorkerRecord, WorkerState
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.exit_causes import ENDED_BY_OTHERS, exit_cause
from headrace_controller.plan.sentences import (
    clock_time,
    describe_end,
    describe_exit,
    describe_leaving,
    describe_wait,
    detail,
    duration,
)
from headrace_controller.plan.start_times import end_of_joining, launch_error, silence


def current(draft: Draft, worker: WorkerRecord, process: ProcessStatus | None) -> WorkerRecord:
    """Returns the record as it is now; the same object if nothing has changed."""
    known, worker = worker.exit, with_process(worker, process, draft.now)
    if worker.state.ended:
        return worker if worker.exit is known else _explained(worker, process)
    if worker.id in draft.report.retired:
        message = f"{_left(worker)}Its data has moved to other workers."
        return _explained(_turned(draft, worker, WorkerState.CLOSED, message), process)
    if process is not None and process.state is ProcessState.EXITED:
        return _exited(draft, worker, process)
    if process is not None and process.leaving is not None:
        return _leaving(draft, worker, process, process.leaving)
    if process is None and not worker.joined and (refused := _refused(draft, worker)) is not None:
        return refused
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
        cause = exit_cause(process.exit_cause, worker.leaving) or ExitCause.EXITED
        worker = replace(worker, exit=Exit(cause=cause, code=process.exit_code, time=now))
    return worker


def _joined(draft: Draft, worker: WorkerRecord, address: str) -> WorkerRecord:
    if worker.state is WorkerState.RUNNING and worker.address == address:
        return worker
    return replace(_turned(draft, worker, WorkerState.RUNNING, ""), address=address, joined=True)


def _exited(draft: Draft, worker: WorkerRecord, process: ProcessStatus) -> WorkerRecord:
    as_intended = worker.joined and process.exit_code == 0
    state = WorkerState.CLOSED if as_intended else WorkerState.FAILED
    cause = exit_cause(process.exit_cause, worker.leaving)
    return _turned(draft, worker, state, f"Its process {describe_exit(replace(process, exit_cause=cause))}.")


def _leaving(draft: Draft, worker: WorkerRecord, process: ProcessStatus, cause: ExitCause) -> WorkerRecord:
    """One that others are ending counts no more, so that it is replaced while it hands its data over."""
    if worker.state is WorkerState.RETIRING and worker.leaving is cause:
        return worker
    message = f"Its process {describe_leaving(cause)}{detail(process.message)}"
    return replace(_turned(draft, worker, WorkerState.RETIRING, message), leaving=cause)


def _left(worker: WorkerRecord) -> str:
    return f"Its process {describe_end(worker.leaving)}. " if worker.leaving else ""


def _explained(worker: WorkerRecord, process: ProcessStatus | None) -> WorkerRecord:
    """Says of one that has handed its data over who ended it, where nobody had announced that."""
    cause = worker.exit and worker.exit.cause
    if process is None or worker.leaving or worker.state is not WorkerState.CLOSED or cause not in ENDED_BY_OTHERS:
        return worker
    end = describe_exit(replace(process, exit_cause=cause))
    return replace(worker, message=f"Its process {end}. {worker.message}")


def _refused(draft: Draft, worker: WorkerRecord) -> WorkerRecord | None:
    """The worker as failed, if the backend has refused it for good."""
    error = draft.seen.start_errors.get(worker.group)
    if error is None or error.cause is None or worker.id not in error.processes:
        return None
    failed = _turned(draft, worker, WorkerState.FAILED, f"It cannot be started{detail(error.message)}")
    return replace(failed, exit=Exit(cause=error.cause, time=draft.now))


def _check_start(draft: Draft, worker: WorkerRecord, process: ProcessStatus | None) -> WorkerRecord:
    error = launch_error(draft, worker.group, process)
    if process is not None and process.state is ProcessState.PENDING:  # the backend has no room: nobody's fault
        return _waiting(draft, worker, process.wait, process.message)
    if not worker.joined and error is not None and error.wait is not None:
        return _waiting(draft, worker, error.wait, error.message)
    if not worker.joined and (silent := silence(draft, process)) is not None:
        return _waiting(draft, worker, WaitReason.PLATFORM_AWAY, silent.failure)
    if worker.message and not worker.joined:
        worker = replace(worker, message="", wait=None)  # there is room now
    if not draft.reached(end_of_joining(draft, worker, process)):
        return worker
    why = f", because it cannot be started{detail(error.message)}" if error is not None else "."
    within = duration(draft.policy.worker_start_timeout)
    return _turned(draft, worker, WorkerState.FAILED, f"It did not join the scheduler within {within}{why}")


def _waiting(draft: Draft, worker: WorkerRecord, wait: WaitReason | None, said: str) -> WorkerRecord:
    """One that waits. Its record keeps the first words about a reason: of thousands, each new word is a write."""
    message = said or "Waiting for room."
    if wait is not None:
        if worker.wait is wait:
            return worker
        message = f"Waiting {describe_wait(wait)} since {clock_time(draft.now)}{detail(said)}"
    same = worker.message == message and worker.wait is wait
    return worker if same else replace(worker, message=message, wait=wait)


def _turned(draft: Draft, worker: WorkerRecord, state: WorkerState, message: str) -> WorkerRecord:
    since = worker.since if worker.state is state else draft.now
    leaving = None if state.alive else worker.leaving
    return replace(worker, state=state, since=since, message=message, wait=None, leaving=leaving)
