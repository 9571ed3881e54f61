"""Until when processes are waited for that have not started. What is nobody's fault does not count.

For a scheduler it is bounded all the same; workers are waited for as long as they are wanted.

All times are of the controller's own clock: those of other machines may be wrong.
"""

from __future__ import annotations

from headrace_controller.backends.contact import Contact
from headrace_controller.backends.process import ProcessState, ProcessStatus
from headrace_controller.model import WorkerRecord
from headrace_controller.plan.decision import StartError
from headrace_controller.plan.draft import Draft


def launch_error(draft: Draft, group: str | None, process: ProcessStatus | None) -> StartError | None:
    """Why a process of a group is not launched; None is the group of the scheduler. None if it is, or may be."""
    return draft.seen.start_errors.get(group) if process is None else None


def silence(draft: Draft, process: ProcessStatus | None) -> Contact | None:
    """Since when, and why, nothing is heard of a process that was launched; None if its platform answers."""
    contact = draft.seen.contact
    return contact if process is not None and contact is not None and contact.failure else None


def scheduler_silence(draft: Draft, process: ProcessStatus | None) -> Contact | None:
    """The same of a scheduler, until it has reported by itself."""
    return silence(draft, process) if draft.report.session == 0 else None


def end_of_start(draft: Draft, process: ProcessStatus | None) -> tuple[float, float]:
    """Returns until when a scheduler that is not usable is waited for, and how long that may take."""
    policy, created = draft.policy, draft.status.scheduler_created
    assert created is not None
    since = max(created, draft.seen.watching_since)
    longest = max(policy.pending_timeout, policy.start_timeout)
    error = launch_error(draft, None, process)
    waits = (process is not None and process.state is ProcessState.PENDING) or (error is not None and error.wait)
    if waits or scheduler_silence(draft, process):
        return since + longest, longest
    if process is None:
        began = max(since, error.since if error else 0.0, _answers_since(draft))
        return min(began + policy.start_timeout, since + longest), policy.start_timeout
    runs_since = max(since, process.runs_since)
    began = min(max(runs_since, _answers_since(draft)), runs_since + longest)
    return began + policy.start_timeout, policy.start_timeout


def end_of_joining(draft: Draft, worker: WorkerRecord, process: ProcessStatus | None) -> float:
    """Returns until when a worker is waited for that has not joined and waits for nothing that is known."""
    error = launch_error(draft, worker.group, process)
    began = max(
        worker.since,
        process.runs_since if process else 0.0,
        error.since if error else 0.0,
        draft.report.changed,
        draft.seen.watching_since,
        _answers_since(draft),
    )
    return began + draft.policy.worker_start_timeout


def _answers_since(draft: Draft) -> float:
    contact = draft.seen.contact
    return contact.since if contact is not None and not contact.failure else 0.0
