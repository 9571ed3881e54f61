"""From a pod, and what Kubernetes has said of it, to the status of a process. Pure."""

from __future__ import annotations

from datetime import datetime

from headrace.v1.enums import ExitCause, WaitReason
from headrace_backend_kubernetes.endings import (
    Ending,
    abandoned,
    container_ending,
    eviction,
    leaving,
    never_starts,
    pod_ending,
)
from headrace_backend_kubernetes.objects import Pod
from headrace_backend_kubernetes.waiting import Note
from headrace_backend_kubernetes.waiting import wait as wait_of
from headrace_controller.backends.process import ProcessKey, ProcessState, ProcessStatus


def status_of(key: ProcessKey, pod: Pod, note: Note | None = None, *, overdue: bool = False) -> ProcessStatus:
    """Returns what a pod says of its process.

    Parameters
    ----------
    overdue
        Whether the time is over within which it was to be deleted.
    """
    state = pod.main
    if ending := _ending(pod, note, overdue=overdue):
        return _status(
            key, pod, ProcessState.EXITED,
            started=_seconds(state.terminated.started_at if state.terminated else None),
            exit_code=ending.exit_code, exit_cause=ending.cause, message=ending.message,
        )  # fmt: skip
    if state.running:
        why = leaving(pod, note)
        return _status(
            key, pod, ProcessState.RUNNING, started=_seconds(state.running.started_at),
            leaving=why.cause if why else None, message=why.message if why else "",
        )  # fmt: skip
    reason, message = wait_of(pod, note)
    return _status(key, pod, ProcessState.PENDING, wait=reason, message=message)


def deleted(status: ProcessStatus, pod: Pod, note: Note | None = None) -> ProcessStatus:
    """Returns the status of a process whose pod is gone; one that had exited stays as it was."""
    if status.state is ProcessState.EXITED:
        return status
    state = pod.main
    ending = leaving(pod, note) or Ending(ExitCause.STOPPED if pod.stopped else ExitCause.DELETED)
    return _status(
        status.key, pod, ProcessState.EXITED,
        started=status.started, exit_code=state.terminated.exit_code if state.terminated else None,
        exit_cause=ending.cause, message=ending.message,
    )  # fmt: skip


def _ending(pod: Pod, note: Note | None, *, overdue: bool) -> Ending | None:
    if not pod.done:
        return abandoned(pod, overdue=overdue) or (None if pod.main.running else never_starts(pod))
    code = pod.main.terminated.exit_code if pod.main.terminated else None
    if others := eviction(pod, note) or (None if pod.stopped and not pod.deleted_first else pod_ending(pod)):
        return Ending(others.cause, others.message, code)
    if pod.deleted_first:
        return Ending(ExitCause.DELETED, exit_code=code)
    if pod.stopped:
        return Ending(ExitCause.STOPPED, exit_code=code)
    return container_ending(pod)


def _status(
    key: ProcessKey,
    pod: Pod,
    state: ProcessState,
    *,
    message: str,
    started: float = 0.0,
    exit_code: int | None = None,
    exit_cause: ExitCause | None = None,
    leaving: ExitCause | None = None,
    wait: WaitReason | None = None,
) -> ProcessStatus:
    return ProcessStatus(
        key=key,
        role=pod.role,
        generation=pod.generation,
        state=state,
        exit_code=exit_code,
        exit_cause=exit_cause,
        message=message,
        wait=wait,
        leaving=leaving,
        started=started,
        host=pod.spec.node_name,
    )


def _seconds(time: datetime | None) -> float:
    return time.timestamp() if time else 0.0
