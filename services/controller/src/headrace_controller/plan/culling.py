"""Rules that end clusters which are no longer needed: the lifetime that their owner set, and Dask's idle time-out."""

from __future__ import annotations

from headrace_controller.backends.process import SCHEDULER, ProcessState
from headrace_controller.model import EndReason
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.ending import Ending
from headrace_controller.plan.sentences import duration


def lifetime_reached(draft: Draft) -> Ending | None:
    """Ends a cluster when its lifetime is over."""
    lifetime = draft.spec.lifetime
    if lifetime is None or not draft.reached(draft.cluster.created + lifetime):
        return None
    message = f"The cluster reached its lifetime of {duration(lifetime)}. Create a new one to continue."
    return Ending(EndReason.LIFETIME, message)


def scheduler_shut_down(draft: Draft) -> Ending | None:
    """Ends a cluster whose scheduler ends by itself and as intended."""
    if draft.report.closing is EndReason.USER:
        return Ending(EndReason.USER, "A client shut the scheduler down.")
    if draft.report.closing is not EndReason.IDLE and not _exited_idle(draft):
        return None
    timeout = draft.policy.idle_timeout
    after = "too long" if timeout is None else duration(timeout)
    message = f"The cluster was stopped because it was idle for {after}. Create a new one to continue."
    return Ending(EndReason.IDLE, message)


def _exited_idle(draft: Draft) -> bool:
    """Whether the idle time-out ended the scheduler, although its agent did not report it in time."""
    process = draft.seen.processes.get(SCHEDULER)
    timeout, idle_since = draft.policy.idle_timeout, draft.seen.signals.idle_since
    return (
        process is not None
        and process.state is ProcessState.EXITED
        and process.exit_code == 0
        and timeout is not None
        and idle_since is not None
        and draft.now - idle_since >= timeout
    )
