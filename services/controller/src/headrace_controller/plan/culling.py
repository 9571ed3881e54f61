"""Rules that give clusters back: after a warning, what the policy finds, and the lifetime that their owner set."""

from __future__ import annotations

from dataclasses import replace

from headrace.v1.enums import EventType
from headrace_controller.model import EndReason, Severity
from headrace_controller.plan.decision import ScaleToZero
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.ending import Ending
from headrace_controller.plan.findings import CullAction, Finding, has_workers
from headrace_controller.plan.sentences import duration

_IDLE_BY_DASK = (
    "The scheduler ended because it was idle for the time of Dask's own setting distributed.scheduler.idle-timeout, "
    "which is set in the cluster's environment. Create a new cluster to continue."
)


def cull(draft: Draft) -> Ending | None:
    """Warns of what culling is about to do to a cluster, and does it when the warning has lasted long enough.

    A warning is withdrawn when its state no longer holds; while that is not known, it stays and nothing is done.
    """
    warnings: dict[str, float] = {}
    ending = None
    for finding in draft.seen.findings:
        warned = draft.status.warnings.get(finding.key)
        if finding.due is None:
            if warned is not None:
                warnings[finding.key] = warned
        elif draft.reached(finding.due - finding.warn):
            warnings[finding.key] = warned or draft.now
            if warned is None and finding.warn:
                _warn(draft, finding, finding.due)
            if _may_act(draft, finding, finding.due, warnings[finding.key]):
                ending = ending or _act(draft, finding)
    if not ending:
        _withdraw(draft, warnings)
    return ending


def _may_act(draft: Draft, finding: Finding, due: float, warned: float) -> bool:
    """Whether the users have had the time of the warning, while a controller watched, or one of them ended it."""
    if warned < draft.spec.cull_before:
        return True
    return draft.reached(max(due, max(warned, draft.seen.watching_since) + finding.warn))


def _warn(draft: Draft, finding: Finding, due: float) -> None:
    left = duration(round(max(due - draft.now, finding.warn)))
    message = f"This cluster is {finding.action.done} in {left} because {finding.why}. {finding.advice}"
    draft.record_event(EventType.CULLING_WARNED, message.rstrip(), Severity.WARNING)


def _act(draft: Draft, finding: Finding) -> Ending | None:
    if finding.action is CullAction.STOP:
        is_budget = finding.reason is EndReason.BUDGET  # which binds new clusters, too
        then = finding.advice if is_budget else "Create a new one to continue."
        return Ending(finding.reason, f"The cluster was stopped because {finding.why}. {then}")
    draft.actions.append(ScaleToZero(finding.why))
    return None


def _withdraw(draft: Draft, warnings: dict[str, float]) -> None:
    """Replaces the warnings; tells of those whose state no longer holds, unless what they warned of has been done."""
    gone = draft.status.warnings.keys() - warnings.keys()
    done = f":{CullAction.SCALE_TO_ZERO}" if not has_workers(draft.cluster) else ":"
    if any(not key.endswith(done) for key in gone):
        message = "The warning is withdrawn: the cluster is in use again, it is kept, or the policy has changed."
        draft.record_event(EventType.CULLING_WITHDRAWN, message)
    if warnings != draft.status.warnings:
        draft.status = replace(draft.status, warnings=warnings)


def lifetime_reached(draft: Draft) -> Ending | None:
    """Ends a cluster when its lifetime is over."""
    lifetime, begun = draft.spec.lifetime, draft.cluster.begun
    if lifetime is None or begun is None or not draft.reached(begun + lifetime):
        return None
    message = f"The cluster reached its lifetime of {duration(lifetime)}. Create a new one to continue."
    return Ending(EndReason.LIFETIME, message)


def scheduler_shut_down(draft: Draft) -> Ending | None:
    """Ends a cluster whose scheduler ends by itself and as intended."""
    if draft.report.closing is EndReason.USER:
        return Ending(EndReason.USER, "A client shut the scheduler down.")
    if draft.report.closing is EndReason.IDLE:
        return Ending(EndReason.IDLE, _IDLE_BY_DASK)
    return None
