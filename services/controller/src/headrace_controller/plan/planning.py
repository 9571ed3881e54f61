"""The plan itself: which rules apply to a cluster in its phase."""

from __future__ import annotations

from dataclasses import replace

from headrace_controller.model import Cluster, Phase
from headrace_controller.plan.decision import Decision, FetchLogTail, NewWorkerId, Policy, Seen, StopAll
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.ending import begin_failure, begin_stop, finish
from headrace_controller.plan.scheduler import look_after_scheduler
from headrace_controller.plan.startable import say_startable
from headrace_controller.plan.workers import look_after_workers


def plan(cluster: Cluster, seen: Seen, now: float, policy: Policy, new_id: NewWorkerId) -> Decision:
    """Decides what the status of a cluster is and what is to be done for it.

    `cluster` must be the latest record: processes that it does not know are stopped.
    """
    draft = Draft(cluster, seen, now, policy, new_id)
    match cluster.status.phase:
        case Phase.STOPPED | Phase.FAILED:
            if draft.running_processes():
                draft.actions.append(StopAll())
                draft.look_at(now + policy.stop_again)
            return draft.decision()
        case Phase.STOPPING:
            finish(draft)
        case _ if cluster.spec.stop is not None:
            begin_stop(draft, cluster.spec.stop)
            finish(draft)
        case Phase.QUEUED:
            pass
        case _:
            failure = look_after_scheduler(draft) or look_after_workers(draft)
            if failure is not None and failure.process not in seen.log_tail:
                return Decision(status=cluster.status, actions=(FetchLogTail(failure.process),))
            if failure is not None:
                begin_failure(draft, failure)
                finish(draft)
            else:
                say_startable(draft)
    draft.status = replace(draft.status, observed_generation=cluster.generation)
    return draft.decision()
