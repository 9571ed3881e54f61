"""The end of a cluster: all its processes are stopped, then it is STOPPED or FAILED."""

from __future__ import annotations

from dataclasses import dataclass, replace

from headrace.v1.enums import EventType, ExitCause
from headrace_controller.model import EndReason, Phase, Severity, WorkerState
from headrace_controller.plan.decision import Decision, StopAll
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.sentences import tail
from headrace_controller.plan.worker_state import with_process


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a cluster ends: for programs and for people.

    Attributes
    ----------
    process
        The last lines of its log are kept.
    cause
        Why processes ended or cannot start, if that is why the cluster ends.
    """

    reason: EndReason
    message: str
    process: str | None = None
    cause: ExitCause | None = None


def stop_requested(draft: Draft) -> Ending | None:
    """Ends a cluster that a client asked to stop."""
    return Ending(EndReason.USER, "A user stopped the cluster.") if draft.spec.stop else None


def begin_end(draft: Draft, ending: Ending) -> None:
    """Turns the cluster to STOPPING. What was decided for it so far is dropped."""
    draft.actions.clear()
    draft.requeue_at = None
    log = draft.seen.log_tail[ending.process] if ending.process is not None else ""
    draft.status = replace(
        draft.status,
        phase=Phase.STOPPING,
        reason=ending.reason,
        message=ending.message,
        log_tail=tail(log, draft.policy.log_tail_bytes),
    )
    if ending.reason.failure:
        draft.record_event(EventType.FAILING, ending.message, Severity.ERROR, cause=ending.cause)
    else:
        draft.record_event(EventType.STOPPING, ending.message)


def finish(draft: Draft) -> None:
    """Stops what still runs; the cluster has ended when nothing does."""
    if draft.running_processes():
        draft.actions.append(StopAll())
        draft.check_at(draft.now + draft.policy.stop_retry)
        return
    for worker in list(draft.workers.values()):
        if not worker.state.ended:
            closed = replace(worker, state=WorkerState.CLOSED, since=draft.now, message="")
            draft.set_worker(with_process(closed, draft.seen.processes.get(worker.id), draft.now))
    draft.conditions.clear()
    draft.losses.clear()
    draft.waits.clear()
    reason = draft.status.reason or EndReason.USER
    phase, event, severity = Phase.STOPPED, EventType.STOPPED, Severity.INFO
    if reason.failure:
        phase, event, severity = Phase.FAILED, EventType.FAILED, Severity.ERROR
    draft.status = replace(draft.status, phase=phase, reason=reason, ended=draft.now)
    draft.record_event(event, draft.status.message, severity)


def stop_leftovers(draft: Draft) -> Decision:
    """Stops processes that appear after the end; the record stays as it is."""
    cluster = draft.cluster
    if not draft.running_processes():
        return Decision(status=cluster.status, workers=cluster.workers)
    again = draft.now + draft.policy.stop_retry
    return Decision(status=cluster.status, workers=cluster.workers, actions=(StopAll(),), requeue_at=again)
