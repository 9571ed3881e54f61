"""How a cluster ends: everything is stopped, then it is STOPPED or FAILED."""

from __future__ import annotations

from dataclasses import replace

from headrace_controller.model import EndReason, Phase, Severity, WorkerState
from headrace_controller.plan.decision import StopAll
from headrace_controller.plan.draft import Draft, Failure
from headrace_controller.plan.sentences import STOP_SENTENCES, tail


def begin_stop(draft: Draft, reason: EndReason) -> None:
    """Lets the cluster end as somebody or some rule wants."""
    message = f"Stopping: {STOP_SENTENCES.get(reason, reason.value)}."
    draft.status = replace(draft.status, phase=Phase.STOPPING, reason=reason, message=message)
    draft.tell("Stopping", message)


def begin_failure(draft: Draft, failure: Failure) -> None:
    """Lets the cluster end because it cannot go on. What was decided for it so far is void."""
    draft.actions.clear()
    draft.look_again = None
    log_tail = tail(draft.seen.log_tail.get(failure.process, ""), draft.policy.log_tail_bytes)
    draft.status = replace(
        draft.status, phase=Phase.STOPPING, reason=failure.reason, message=failure.message, log_tail=log_tail
    )
    draft.tell("Failing", failure.message, Severity.ERROR)


def finish(draft: Draft) -> None:
    """Stops what still runs; the cluster has ended when nothing does."""
    if draft.running_processes():
        draft.actions.append(StopAll())
        draft.look_at(draft.now + draft.policy.stop_again)
        return
    reason = draft.status.reason or draft.spec.stop or EndReason.USER
    for worker in draft.workers.values():
        if not worker.state.ended:
            draft.workers[worker.id] = replace(worker, state=WorkerState.CLOSED, since=draft.now, message="")
    if reason.failure:
        phase, message = Phase.FAILED, draft.status.message
        draft.tell("Failed", message, Severity.ERROR)
    else:
        phase, message = Phase.STOPPED, f"Stopped: {STOP_SENTENCES.get(reason, reason.value)}."
        draft.tell("Stopped", message)
    draft.status = replace(draft.status, phase=phase, reason=reason, message=message, ended=draft.now, conditions=())
