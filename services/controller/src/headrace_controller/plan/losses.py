"""Lost workers: one event for one loss, with what the scheduler counted and how the process exited.

Scheduler and backend notice a loss at different moments. The event waits for both, and for workers that are lost
together. Their replacement does not wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from headrace.v1.enums import EventType, ExitCause
from headrace_controller.model import Departure, Severity, WorkerId, WorkerRecord, WorkerState
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.exit_causes import ENDED_BY_OTHERS
from headrace_controller.plan.sentences import about_workers, count, describe_exit_code, size


def record_losses(draft: Draft) -> None:
    """Records losses once both sides have reported them, or after some time."""
    if not draft.losses:
        return
    known = [worker for worker, since in draft.losses.items() if _is_known(draft, worker, since)]
    due = min(since + _patience(draft, draft.workers.get(worker)) for worker, since in draft.losses.items())
    if len(known) < len(draft.losses) and not draft.reached(due):
        return
    _record(draft, [draft.workers[worker] for worker in known if worker in draft.workers])
    for worker in known:
        del draft.losses[worker]
    for worker, since in draft.losses.items():
        draft.check_at(since + _patience(draft, draft.workers.get(worker)))


def _is_known(draft: Draft, worker: WorkerId, since: float) -> bool:
    record = draft.workers.get(worker)
    if record is None or draft.now >= since + _patience(draft, record):
        return True
    report = draft.report
    counted = worker in report.departures or worker in report.retired or not report.connected
    return counted and record.state is not WorkerState.PENDING and not _ends(record)


def _ends(record: WorkerRecord) -> bool:
    """Whether it has left in order, and its process has not been seen to end yet: the end may say why."""
    return record.state is WorkerState.CLOSED and record.exit is None


def _patience(draft: Draft, record: WorkerRecord | None) -> float:
    return draft.policy.exit_wait if record is not None and _ends(record) else draft.policy.loss_wait


def _record(draft: Draft, workers: Sequence[WorkerRecord]) -> None:
    """Records workers that ended as intended, such as at the end of their lifetime, as closed unless work was lost."""
    departures = {worker.id: draft.report.departures.get(worker.id, Departure()) for worker in workers}
    over_memory, lost, closed = list[WorkerRecord](), list[WorkerRecord](), list[WorkerRecord]()
    for worker in workers:
        if departures[worker.id].memory_limit_bytes:
            over_memory.append(worker)
        elif worker.state is not WorkerState.CLOSED or _cost(departures[worker.id]):
            lost.append(worker)
        else:
            closed.append(worker)
    if over_memory:
        message = _about_lost(over_memory, departures)
        draft.record_event(EventType.WORKERS_LOST, message, Severity.WARNING, cause=ExitCause.OUT_OF_MEMORY)
    for alike in _by_others(lost):
        cause = alike[0].exit and alike[0].exit.cause
        draft.record_event(EventType.WORKERS_LOST, _about_lost(alike, departures), Severity.WARNING, cause=cause)
    for alike in _by_others(closed):
        cause = alike[0].exit and alike[0].exit.cause
        draft.record_event(EventType.WORKERS_CLOSED, about_workers(alike, "has ended", "have ended"), cause=cause)


def _by_others(workers: Sequence[WorkerRecord]) -> Iterable[Sequence[WorkerRecord]]:
    """The workers, apart by why others ended them; all others together."""
    alike: dict[ExitCause | None, list[WorkerRecord]] = {}
    for worker in workers:
        cause = worker.exit.cause if worker.exit else None
        alike.setdefault(cause if cause in ENDED_BY_OTHERS else None, []).append(worker)
    return alike.values()


def _about_lost(workers: Sequence[WorkerRecord], departures: Mapping[WorkerId, Departure]) -> str:
    first, departure = workers[0], departures[workers[0].id]
    if departure.memory_limit_bytes:
        limit = size(departure.memory_limit_bytes)
        one, several = f"needed more than its {limit} of memory", "needed more memory than they may use"
        fate = about_workers(workers, one, several, f"Its limit is {limit}." if len(workers) > 1 else "")
    else:
        # Of one whose nanny ended, too, the record says how.
        died = f"Its worker process {describe_exit_code(departure.exit_code)}." if departure.exit_code else ""
        fate = about_workers(workers, "was lost", "were lost", "" if first.state.ended else died)
    cost = _cost(sum((departures[worker.id] for worker in workers), Departure()))
    return f"{fate}{cost}{_advice(first, departure)}"


def _cost(departure: Departure) -> str:
    """`` This costs 3 tasks to run again.``, to append to a sentence; "" if nothing was lost."""
    tasks, results, scattered = departure.tasks_lost, departure.results_lost, departure.scattered_lost
    parts = [
        f"{count(tasks, 'task')} to run again" if tasks else "",
        f"{count(results, 'result')} to compute again" if results else "",
        f"{count(scattered, 'piece')} of scattered data, which cannot be restored" if scattered else "",
    ]
    parts = [part for part in parts if part]
    return f" This costs {', '.join(parts)}." if parts else ""


def _advice(worker: WorkerRecord, departure: Departure) -> str:
    killed = worker.exit is not None and worker.exit.cause is ExitCause.OUT_OF_MEMORY
    return " Raise worker_memory, or use smaller chunks." if killed or departure.memory_limit_bytes else ""
