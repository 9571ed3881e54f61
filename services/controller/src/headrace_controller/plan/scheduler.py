"""Rules for the scheduler: launched once, usable in time, and lost only after it was watched for long enough."""

from __future__ import annotations

from dataclasses import replace

from headrace.v1.enums import ConditionStatus, ConditionType, EventType, ExitCause
from headrace_controller.backends.process import SCHEDULER, ProcessState, ProcessStatus
from headrace_controller.model import EndReason, Phase, Severity
from headrace_controller.plan.decision import StartProcesses
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.ending import Ending
from headrace_controller.plan.sentences import describe_exit, duration
from headrace_controller.plan.starting import may_launch

_SILENT = "The scheduler does not answer."
_BLOCKED = (
    "although its process runs. Its event loop may be blocked, for example by a large graph or a plugin. It is not "
    "stopped."
)


def reconcile_scheduler(draft: Draft) -> Ending | None:
    """Launches the scheduler and follows it until the cluster is usable, and from then on."""
    process = draft.seen.processes.get(SCHEDULER)
    _check_holder(draft)
    _launch(draft, process)
    if process is not None and process.state is ProcessState.EXITED:
        return _exited(draft, process)
    if draft.seen.route.rejected_by:
        return _route_rejected(draft)
    _set_reachable(draft)
    _set_routed(draft)
    return _check_start(draft, process) if draft.status.phase is Phase.STARTING else _check_contact(draft)


def _check_holder(draft: Draft) -> None:
    """Counts an agent as away if the replica that would report it is gone."""
    gone_from = draft.seen.holder_gone_from
    if gone_from is None or not draft.report.connected or not draft.reached(gone_from):
        return
    draft.report = replace(draft.report, connected=False, changed=max(draft.report.changed, gone_from))


def _launch(draft: Draft, process: ProcessStatus | None) -> None:
    if draft.status.phase is not Phase.STARTING:
        return
    if draft.status.scheduler_created is None:
        draft.status = replace(draft.status, scheduler_created=draft.now)
        draft.record_event(EventType.SCHEDULER_STARTING, "Starting the scheduler.")
    # A scheduler that has reported and is gone is lost: another one would know nothing of its work.
    if process is None and draft.report.session == 0 and may_launch(draft, None):
        draft.actions.append(StartProcesses((SCHEDULER,)))


def _exited(draft: Draft, process: ProcessStatus) -> Ending:
    reason = EndReason.BACKEND_ERROR if draft.status.started is None else EndReason.SCHEDULER_LOST
    if process.exit_cause is ExitCause.OUT_OF_MEMORY:
        reason = EndReason.OUT_OF_MEMORY
    return Ending(reason, f"The scheduler's process {describe_exit(process)}.", SCHEDULER)


def _route_rejected(draft: Draft) -> Ending:
    proxies = ", ".join(draft.seen.route.rejected_by)
    refused = f"The proxy refused the route to the scheduler at {draft.report.scheduler_address} ({proxies})"
    draft.record_event(EventType.ROUTE_REJECTED, f"{refused}.", Severity.ERROR)
    message = (
        f"{refused}, so no client can reach the cluster. The log of the proxy service says why; ask an administrator."
    )
    return Ending(EndReason.BACKEND_ERROR, message)


def _set_reachable(draft: Draft) -> None:
    before = draft.conditions.get(ConditionType.REACHABLE)
    was_reachable = before is not None and before.status is ConditionStatus.TRUE
    if draft.report.connected and draft.report.silent_since is not None:
        message = f"The scheduler has not answered for {duration(draft.policy.scheduler_silence)}, {_BLOCKED}"
        draft.set_condition(ConditionType.REACHABLE, ConditionStatus.UNKNOWN, "NotAnswering", message)
        if was_reachable:
            draft.record_event(EventType.SCHEDULER_UNREACHABLE, message, Severity.WARNING)
    elif draft.report.connected:
        draft.set_condition(ConditionType.REACHABLE, ConditionStatus.TRUE)
        if not was_reachable:
            _record_contact(draft)
    elif draft.report.session == 0:
        message = "The scheduler has not reported yet."
        draft.set_condition(ConditionType.REACHABLE, ConditionStatus.FALSE, "NotConnected", message)
    else:
        draft.set_condition(ConditionType.REACHABLE, ConditionStatus.UNKNOWN, "AgentAway", _SILENT)
        if was_reachable:
            draft.record_event(EventType.SCHEDULER_UNREACHABLE, _SILENT, Severity.WARNING)


def _record_contact(draft: Draft) -> None:
    if draft.status.started is None:
        message = "The scheduler runs. Waiting until the proxy has its route."
        draft.record_event(EventType.SCHEDULER_STARTED, message)
    else:
        draft.record_event(EventType.SCHEDULER_REACHABLE, "The scheduler answers again.")


def _set_routed(draft: Draft) -> None:
    if draft.seen.route.routed:
        draft.set_condition(ConditionType.ROUTED, ConditionStatus.TRUE)
    else:
        draft.set_condition(ConditionType.ROUTED, ConditionStatus.FALSE, "RoutePending")


def _check_start(draft: Draft, process: ProcessStatus | None) -> Ending | None:
    report = draft.report
    if report.connected and report.scheduler_address and draft.seen.route.routed:
        draft.status = replace(draft.status, phase=Phase.RUNNING, started=draft.now, message="")
        draft.record_event(EventType.RUNNING, "The cluster is usable.")
        return None
    waits_for = _waits_for(draft, process)
    draft.set_message(waits_for)
    timeout, created = draft.policy.start_timeout, draft.status.scheduler_created
    assert created is not None
    if not draft.reached(max(created, draft.seen.watching_since) + timeout):
        return None
    message = f"The cluster was not usable within {duration(timeout)}. {waits_for}"
    return Ending(EndReason.START_TIMEOUT, message, SCHEDULER)


def _waits_for(draft: Draft, process: ProcessStatus | None) -> str:
    if process is None and (error := draft.seen.start_errors.get(None)):
        return f"The scheduler cannot be started: {error.message.rstrip('.')}."
    if process is None:
        return "Waiting for the scheduler's process to start."
    if process.state is ProcessState.PENDING:
        return f"Waiting for room for the scheduler{': ' + process.message if process.message else '.'}"
    if not draft.report.connected:
        return "The scheduler's process runs. Waiting for it to report."
    return "The scheduler runs. Waiting until the proxy has its route."


def _check_contact(draft: Draft) -> Ending | None:
    if draft.report.connected:
        draft.set_message("")
        return None
    draft.set_message(_SILENT)
    timeout = draft.policy.scheduler_lost
    if not draft.reached(max(draft.report.changed, draft.seen.watching_since) + timeout):
        return None
    return Ending(EndReason.SCHEDULER_LOST, f"The scheduler has not answered for {duration(timeout)}.", SCHEDULER)
