"""The condition that what is wanted can be started: false from a start that fails until one succeeds."""

from __future__ import annotations

from headrace_controller.backends.base import SCHEDULER
from headrace_controller.model import Group, Severity, WorkerState
from headrace_controller.plan.decision import StartProcesses
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.sentences import of_group

STARTABLE = "Startable"
_TROUBLE, _FAILED = "BackendTrouble", "StartFailed"


def say_startable(draft: Draft) -> None:
    """Sets the condition; while a start is under way it stays as it was."""
    troubles = _troubles(draft)
    failures = [_failure(draft, group) for group in draft.spec.groups]
    sentences = [*troubles, *filter(None, failures)]
    if sentences:
        _tell(draft, troubles)
        reason = _TROUBLE if troubles else _FAILED
        draft.state(STARTABLE, holds=False, reason=reason, message=" ".join(sentences))
    elif not any(isinstance(action, StartProcesses) for action in draft.actions):
        draft.state(STARTABLE, holds=True)


def _troubles(draft: Draft) -> list[str]:
    """What the backend has refused to start and is still wanted."""
    missing: dict[str | None, str] = {group: f"Workers{of_group(draft.spec, group)}" for group in draft.unstarted()}
    if SCHEDULER not in draft.seen.processes:
        missing = {None: "The scheduler", **missing}
    refused = draft.seen.troubles
    return [f"{who} cannot be started: {refused[group].message}." for group, who in missing.items() if group in refused]


def _failure(draft: Draft, group: Group) -> str:
    """What has become of the group's last start, if that failed and workers are missing; else ""."""
    backoff = draft.backoffs.get(group.name)
    if backoff is None or len(draft.members(group.name, WorkerState.RUNNING)) >= group.wanted:
        return ""
    return f"Workers{of_group(draft.spec, group.name)} fail to start: {backoff.message}"


def _tell(draft: Draft, troubles: list[str]) -> None:
    known = draft.condition(STARTABLE)
    if troubles and (known is None or known.reason != _TROUBLE):
        draft.tell(_TROUBLE, " ".join(troubles), Severity.WARNING)
