"""Processes that were launched and do not run yet: told of once for each reason, however many they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headrace.v1.enums import EventType, WaitReason
from headrace_controller.backends.process import ProcessState, ProcessStatus
from headrace_controller.model import WorkerRecord
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.sentences import clock_time, describe_wait, detail
from headrace_controller.plan.start_times import scheduler_silence, silence

_SCHEDULER = ""


def follow_scheduler(draft: Draft, process: ProcessStatus | None) -> None:
    """Tells why the scheduler waits."""
    waits = _scheduler_waits_for(draft, process)
    sentences = {reason: f"The scheduler waits {describe_wait(reason)}{detail(said)}" for reason, said in waits.items()}
    _follow(draft, _SCHEDULER, sentences)


def _scheduler_waits_for(draft: Draft, process: ProcessStatus | None) -> Mapping[WaitReason, str]:
    """Why it waits, with the backend's words."""
    waits: dict[WaitReason, str] = {}
    if process is None:
        return waits
    if process.state is ProcessState.PENDING and process.wait is not None:
        waits[process.wait] = process.message
    if (silent := scheduler_silence(draft, process)) is not None:
        waits[WaitReason.PLATFORM_AWAY] = silent.failure
    return waits


def scheduler_waits(draft: Draft, process: ProcessStatus) -> str:
    """The sentence about a scheduler that waits, with the backend's latest words."""
    since = draft.waits.get(_SCHEDULER, {}).get(process.wait) if process.wait else None
    since_when = "" if since is None else f" since {clock_time(since)}"
    return f"The scheduler waits {describe_wait(process.wait)}{since_when}{detail(process.message)}"


def follow_workers(draft: Draft) -> None:
    """Tells why workers wait, one event for each group and reason."""
    for group in draft.waits.keys() - draft.counts.keys() - {_SCHEDULER}:
        del draft.waits[group]
    for name, group in draft.counts.items():
        _follow(draft, name, _about_waiting(draft, name, group.pending))


def _about_waiting(draft: Draft, group: str, pending: Iterable[WorkerRecord]) -> Mapping[WaitReason, str]:
    """Sentences without numbers of workers: of those that wait for the same, the backend reports one after another."""
    sentences: dict[WaitReason, str] = {}
    for worker in pending:
        process = draft.seen.processes.get(worker.id)
        if worker.wait is not None and worker.wait not in sentences and process is not None:
            silent = silence(draft, process)
            said = silent.failure if silent and worker.wait is WaitReason.PLATFORM_AWAY else process.message
            waits = f"wait {describe_wait(worker.wait)}{detail(said)}"
            sentences[worker.wait] = f"Workers{draft.of_group(group)} {waits}"
    return sentences


def _follow(draft: Draft, group: str, sentences: Mapping[WaitReason, str]) -> None:
    """Records why something waits, and tells of reasons that are new since it began to wait.

    One that comes back is not told again, so that reasons that take turns cause no flood.
    """
    if not sentences:
        draft.waits.pop(group, None)
        return
    known = draft.waits.get(group, {})
    new = [reason for reason in sentences if reason not in known]
    for reason in new:
        if reason is not WaitReason.STARTING:  # nobody waits for what goes on as usual
            draft.record_event(EventType.WAITING, sentences[reason], wait=reason)
    if new:
        draft.waits[group] = {**known, **dict.fromkeys(new, draft.now)}
