"""Rules for the scheduler: launched once, usable in time, and lost only after it was watched for long enough."""

from __future__ import annotations

from dataclasses import replace

from headrace.v1.enums import ConditionStatus, ConditionType, EventType
from headrace_controller.backends.process import SCHEDULER, ProcessState, ProcessStatus
from headrace_controller.model import EndReason, Phase, Severity
from headrace_controller.plan.decision import StartError, StartProcesses
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.ending import Ending
from headrace_controller.plan.exit_causes import CANNOT_START, end_reason, exit_cause
from headrace_controller.plan.sentences import (
    advice,
    clock_time,
    describe_exit,
    describe_leaving,
    detail,
    duration,
)
from headrace_controller.plan.start_times import end_of_start, launch_error, scheduler_silence
from headrace_controller.plan.starting import may_launch
from headrace_controller.plan.waits import follow_scheduler, scheduler_waits

_SILENT = "The scheduler does not answer."
_SIGNALLED = (
    "The scheduler was told to end by a signal that headrace did not send, such as when its machine shuts down."
)
_BLOCKED = (
    "although its process runs. Its event loop may be blocked, for example by a large graph or a plugin. It is not "
    "stopped."
)


def reconcile_scheduler(draft: Draft) -> Ending | None:
    """Launches the scheduler and follows it until the cluster is usable, and from then on."""
    process = draft.seen.processes.get(SCHEDULER)
    _check_holder(draft)
    _launch(draft, process)
    follow_scheduler(draft, process)
    _follow_leaving(draft, process)
    if process is not None and process.state is ProcessState.EXITED:
        return _exited(draft, process)
    if process is None and (error := draft.seen.start_errors.get(None)) is not None and error.cause is not None:
        return _refused(error)
    if draft.seen.route.rejected_by:
        return _route_rejected(draft)
    _set_reachable(draft)
    _set_routed(draft)
    return _check_start(draft, process) if draft.status.phase is Phase.STARTING else _check_contact(draft, process)


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


def _refused(error: StartError) -> Ending:
    message = f"The scheduler cannot be started{detail(error.message)}{advice(error.cause)}"
    return Ending(end_reason(error.cause, EndReason.BACKEND_ERROR), message, cause=error.cause)


def _follow_leaving(draft: Draft, process: ProcessStatus | None) -> None:
    """Tells once that others than headrace are ending the scheduler; remembers it until it has ended."""
    if process is None or process.state is not ProcessState.RUNNING or process.leaving is draft.status.leaving:
        return
    draft.status = replace(draft.status, leaving=process.leaving)
    if process.leaving is not None:
        message = f"{_about_leaving(process)} The cluster ends with it."
        draft.record_event(EventType.SCHEDULER_LEAVING, message, Severity.WARNING, cause=process.leaving)


def _about_leaving(process: ProcessStatus | None) -> str:
    """The sentence about a scheduler that others are ending; "" if nobody is."""
    if process is None or process.leaving is None:
        return ""
    return f"The scheduler {describe_leaving(process.leaving)}{detail(process.message)}"


def _exited(draft: Draft, process: ProcessStatus) -> Ending:
    otherwise = EndReason.BACKEND_ERROR if draft.status.started is None else EndReason.SCHEDULER_LOST
    cause = exit_cause(process.exit_cause, draft.status.leaving)
    reason = end_reason(cause, otherwise)
    if reason is EndReason.SCHEDULER_LOST and draft.report.closing is EndReason.SCHEDULER_LOST:
        return Ending(reason, _SIGNALLED, SCHEDULER, cause)
    message = f"The scheduler's process {describe_exit(replace(process, exit_cause=cause))}.{advice(cause)}"
    return Ending(reason, message, None if cause in CANNOT_START else SCHEDULER, cause)


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
        draft.status = replace(draft.status, phase=Phase.RUNNING, started=draft.now)
        draft.set_message(_about_leaving(process))
        draft.record_event(EventType.RUNNING, "The cluster is usable.")
        return None
    waits_for = _about_leaving(process) or _waits_for(draft, process)
    until, timeout = end_of_start(draft, process)
    if not draft.reached(until):
        draft.set_message(f"{waits_for}{_tried_until(draft, process, until)}")
        return None
    message = f"The cluster was not usable within {duration(timeout)}. {waits_for}"
    return Ending(EndReason.START_TIMEOUT, message, SCHEDULER)


def _tried_until(draft: Draft, process: ProcessStatus | None, until: float) -> str:
    """`` It is tried again until 14:02 UTC.``, to append to what is waited for; "" if nothing fails."""
    if launch_error(draft, None, process) is not None:
        return f" It is tried again until {clock_time(until)}."
    if (silent := scheduler_silence(draft, process)) is not None:
        why = f"since {clock_time(silent.since)}{detail(silent.failure)}"
        return f" Nothing is heard of it {why} It is waited for until {clock_time(until)}."
    return ""


def _waits_for(draft: Draft, process: ProcessStatus | None) -> str:
    if (error := launch_error(draft, None, process)) is not None:
        return f"The scheduler cannot be started{detail(error.message)}"
    if process is None:
        return "Waiting for the scheduler's process to start."
    if process.state is ProcessState.PENDING:
        return scheduler_waits(draft, process)
    if not draft.report.connected:
        return "The scheduler's process runs. Waiting for it to report."
    return "The scheduler runs. Waiting until the proxy has its route."


def _check_contact(draft: Draft, process: ProcessStatus | None) -> Ending | None:
    if draft.report.connected:
        draft.set_message(_about_leaving(process))
        return None
    draft.set_message(_SILENT)
    timeout = draft.policy.scheduler_lost
    if not draft.reached(max(draft.report.changed, draft.seen.watching_since) + timeout):
        return None
    leaving = draft.status.leaving
    message = f"The scheduler has not answered for {duration(timeout)}."
    if leaving is not None:
        message = f"{_about_leaving(process) or _SILENT} It has not answered for {duration(timeout)}.{advice(leaving)}"
    return Ending(end_reason(leaving, EndReason.SCHEDULER_LOST), message, SCHEDULER, leaving)
