"""One walk through the workers brings their records up to date.

Nearly all workers are as they should be nearly always: they cost a comparison each, and the decision shares their
records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from headrace.v1.enums import EventType, ExitCause
from headrace_controller.backends.process import ProcessState, ProcessStatus
from headrace_controller.model import Severity, WorkerId, WorkerRecord, WorkerState
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.sentences import about_workers, count, describe_leaving, detail
from headrace_controller.plan.worker_state import current
from headrace_controller.worker_counts import count_states


@dataclass(slots=True)
class Walk:
    """What one walk through the workers found."""

    joined: list[WorkerRecord] = field(default_factory=list[WorkerRecord])
    closed: list[WorkerRecord] = field(default_factory=list[WorkerRecord])
    failed: list[WorkerRecord] = field(default_factory=list[WorkerRecord])
    leaving: list[WorkerRecord] = field(default_factory=list[WorkerRecord])
    ended: list[WorkerId] = field(default_factory=list[WorkerId])  # now or before


def walk_through(draft: Draft) -> Walk:
    """Brings the records up to date and counts the workers that have not ended."""
    walk, counts = Walk(), draft.counts
    for (group, state), number in count_states(draft.cluster.workers).items():
        if number and state is WorkerState.RUNNING:
            counts[group].running += number
    for before, process in _unsettled(draft):
        if before.state is WorkerState.RUNNING:
            counts[before.group].running -= 1
        worker = current(draft, before, process)
        if worker is not before:
            draft.set_worker(worker)
        if worker.state is not before.state or worker.address != before.address:
            _sort(draft, walk, before, worker)
        if worker.state.ended:
            walk.ended.append(worker.id)
        else:
            counts[worker.group].add(worker)
    return walk


def _unsettled(draft: Draft) -> list[tuple[WorkerRecord, ProcessStatus | None]]:
    """The workers that do not just run as recorded, with their processes."""
    workers, retired = draft.cluster.workers, draft.report.retired
    found = zip(
        workers.values(),
        map(draft.seen.processes.get, workers),
        map(draft.report.joined.get, workers),
        strict=True,
    )
    running, process_runs = WorkerState.RUNNING, ProcessState.RUNNING  # looking these up costs as much as all the rest
    return [
        (worker, process)
        for worker, process, address in found
        if not (
            worker.state is running
            and worker.address == address
            and (
                process is None
                or (process.state is process_runs and process.host == worker.host and process.leaving is None)
            )
            and worker.id not in retired
        )
    ]


def _sort(draft: Draft, walk: Walk, before: WorkerRecord, worker: WorkerRecord) -> None:
    """Sorts a worker that has changed by the event that it causes."""
    if worker.state is WorkerState.RUNNING and before.state is not WorkerState.RUNNING:
        walk.joined.append(worker)
    elif worker.state is WorkerState.RETIRING:
        walk.leaving.append(worker)
    elif worker.id in draft.losses:
        pass  # its loss is recorded later, with this
    elif worker.id in draft.report.retired and before.state is not WorkerState.RUNNING:
        walk.closed.append(worker)
    elif before.state is not WorkerState.PENDING:  # it left, or has another address because it was restarted
        draft.losses[worker.id] = draft.now
    elif worker.state is WorkerState.CLOSED:
        walk.closed.append(worker)
    else:
        walk.failed.append(worker)


def record_turns(draft: Draft, walk: Walk) -> None:
    """Adds one event for each kind of change. Lost workers have a rule of their own."""
    for group, joined in Counter(worker.group for worker in walk.joined).items():
        now = draft.counts[group]
        workers = f"{count(joined, 'worker')}{draft.of_group(group)}"
        draft.record_event(EventType.WORKERS_JOINED, f"{workers} joined; {now.running} of {now.desired} run.")
    for cause, leaving in _by_cause(walk.leaving).items():
        assert cause is not None
        draft.record_event(
            EventType.WORKERS_LEAVING, _about_leaving(draft, leaving, cause), Severity.WARNING, cause=cause
        )
    for cause, closed in _by_cause(walk.closed).items():
        draft.record_event(EventType.WORKERS_CLOSED, about_workers(closed, "has ended", "have ended"), cause=cause)
    if walk.failed:
        message = about_workers(walk.failed, "failed to start", "failed to start")
        last = walk.failed[-1].exit
        draft.record_event(EventType.WORKERS_FAILED, message, Severity.WARNING, cause=last and last.cause)


def _about_leaving(draft: Draft, workers: Sequence[WorkerRecord], cause: ExitCause) -> str:
    first = workers[0].id
    fate = f"{first} {describe_leaving(cause)}{detail(draft.seen.processes[first].message)}"
    if len(workers) == 1:
        return f"Worker {fate} Its data moves to other workers, and it is replaced."
    return (
        f"{len(workers)} workers are leaving; of them, {fate} Their data moves to other workers, and they are replaced."
    )


def _by_cause(workers: Iterable[WorkerRecord]) -> dict[ExitCause | None, list[WorkerRecord]]:
    """The workers by why others are ending them."""
    alike: dict[ExitCause | None, list[WorkerRecord]] = {}
    for worker in workers:
        alike.setdefault(worker.leaving, []).append(worker)
    return alike
