"""The rules for the scheduler: started once, usable in time, and never given up while nobody watched."""

from __future__ import annotations

from dataclasses import replace

from headrace_controller.backends.base import SCHEDULER, ExitCause, ProcessState, ProcessStatus
from headrace_controller.model import EndReason, Phase, Severity
from headrace_controller.plan.backoff import may_ask
from headrace_controller.plan.decision import StartProcesses
from headrace_controller.plan.draft import Draft, Failure
from headrace_controller.plan.sentences import how_it_ended


def look_after_scheduler(draft: Draft) -> Failure | None:
    """Starts the scheduler and follows it; returns why the cluster cannot go on, if so."""
    process = draft.seen.processes.get(SCHEDULER)
    _follow_holder(draft)
    _start(draft, process)
    if process is not None and process.state is ProcessState.EXITED:
        return _exited(draft, process)
    _follow_reach(draft)
    routed = draft.seen.routed
    draft.state("Routed", holds=routed, reason="" if routed else "RoutePending")
    return _starting(draft, process) if draft.status.phase is Phase.STARTING else _running(draft)


def _follow_holder(draft: Draft) -> None:
    """Takes an agent as away when the replica is gone that would have said so."""
    gone_from = draft.seen.holder_gone_from
    if gone_from is None or not draft.report.connected:
        return
    if draft.now < gone_from:
        draft.look_at(gone_from)
        return
    draft.report = replace(draft.report, connected=False, changed=max(draft.report.changed, gone_from))
    draft.look_at(draft.now + draft.policy.holder_again)


def _start(draft: Draft, process: ProcessStatus | None) -> None:
    if draft.status.phase is not Phase.STARTING:
        return
    if draft.status.scheduler_created is None:
        draft.status = replace(draft.status, scheduler_created=draft.now)
        draft.tell("SchedulerStarting", "Starting the scheduler.")
    # Once it has reported, a scheduler that is gone is lost: another would know nothing of its work.
    if process is None and draft.report.session == 0 and may_ask(draft, None):
        draft.actions.append(StartProcesses((SCHEDULER,)))


def _exited(draft: Draft, process: ProcessStatus) -> Failure:
    reason = EndReason.BACKEND_ERROR if draft.status.started is None else EndReason.SCHEDULER_LOST
    if process.cause is ExitCause.OUT_OF_MEMORY:
        reason = EndReason.OUT_OF_MEMORY
    return Failure(reason=reason, message=f"The scheduler's process {how_it_ended(process)}.", process=SCHEDULER)


def _follow_reach(draft: Draft) -> None:
    before, connected = draft.holds("Reachable"), draft.report.connected
    if connected:
        draft.state("Reachable", holds=True)
        if not before and draft.status.started is None:
            draft.tell("SchedulerStarted", "The scheduler runs; waiting until it can be reached through the proxy.")
        elif not before:
            draft.tell("SchedulerReachable", "The scheduler answers again.")
    elif draft.report.session == 0:
        draft.state("Reachable", holds=False, reason="NotConnected", message="The scheduler has not reported yet.")
    else:
        draft.state("Reachable", holds=False, reason="AgentAway", message="The scheduler does not answer.")
        if before:
            draft.tell("SchedulerUnreachable", "The scheduler does not answer.", Severity.WARNING)


def _starting(draft: Draft, process: ProcessStatus | None) -> Failure | None:
    report = draft.report
    if report.connected and report.scheduler_address and draft.seen.routed:
        draft.status = replace(draft.status, phase=Phase.RUNNING, started=draft.now, message="")
        draft.tell("Running", "The cluster is usable.")
        return None
    waits_for = _waits_for(draft, process)
    draft.status = replace(draft.status, message=waits_for)
    timeout = draft.policy.start_timeout
    created = draft.status.scheduler_created
    deadline = max(draft.now if created is None else created, draft.seen.watching_since) + timeout
    draft.look_at(deadline)
    if draft.now < deadline:
        return None
    message = f"The cluster was not usable within {timeout:g} s. {waits_for}"
    return Failure(reason=EndReason.START_TIMEOUT, message=message, process=SCHEDULER)


def _waits_for(draft: Draft, process: ProcessStatus | None) -> str:
    if process is None and (trouble := draft.seen.troubles.get(None)):
        return f"The scheduler's process cannot be started: {trouble.message}."
    if process is None:
        return "Waiting for the scheduler's process to start."
    if process.state is ProcessState.PENDING:
        return f"Waiting for room for the scheduler{': ' + process.message if process.message else '.'}"
    if not draft.report.connected:
        return "The scheduler's process runs; waiting for it to report."
    return "The scheduler runs; waiting for the proxy to take up its route."


def _running(draft: Draft) -> Failure | None:
    if draft.report.connected:
        draft.status = replace(draft.status, message="")
        return None
    timeout = draft.policy.scheduler_lost
    deadline = max(draft.report.changed, draft.seen.watching_since) + timeout
    draft.status = replace(draft.status, message="The scheduler does not answer.")
    draft.look_at(deadline)
    if draft.now < deadline:
        return None
    message = f"The scheduler has not answered for {timeout:g} s."
    return Failure(reason=EndReason.SCHEDULER_LOST, message=message, process=SCHEDULER)
