"""Lost workers: one event for one loss, with what the scheduler counted and how the process exited.

Scheduler and backend notice a loss at different moments. The event waits for both, and for workers that are lost
together. Their replacement does not wait.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.v1.enums import EventType
from headrace_controller.model import Departure, Severity, WorkerId, WorkerRecord, WorkerState
from headrace_controller.plan.draft import Draft
from headrace_controller.plan.sentences import about_workers, count


def record_losses(draft: Draft) -> None:
    """Records losses once both sides have reported them, or after some time."""
    if not draft.losses:
        return
    known = [worker for worker, since in draft.losses.items() if _is_known(draft, worker, since)]
    oldest = min(draft.losses.values())
    if len(known) < len(draft.losses) and not draft.reached(oldest + draft.policy.loss_wait):
        return
    _record(draft, [draft.workers[worker] for worker in known if worker in draft.workers])
    for worker in known:
        del draft.losses[worker]
    for since in draft.losses.values():
        draft.check_at(since + draft.policy.loss_wait)


def _is_known(draft: Draft, worker: WorkerId, since: float) -> bool:
    record = draft.workers.get(worker)
    if record is None or draft.now >= since + draft.policy.loss_wait:
        return True
    counted = worker in draft.report.departures or not draft.report.connected
    return counted and record.state is not WorkerState.PENDING


def _record(draft: Draft, workers: Sequence[WorkerRecord]) -> None:
    """Records workers that ended as intended, such as at the end of their lifetime, as closed unless work was lost."""
    departures = draft.report.departures
    lost = [w for w in workers if w.state is not WorkerState.CLOSED or _cost([departures.get(w.id)])]
    closed = [w for w in workers if w not in lost]
    if lost:
        fate = about_workers(lost, "was lost", "were lost")
        cost = _cost([departures.get(worker.id) for worker in lost])
        message = f"{fate}{cost}"
        draft.record_event(EventType.WORKERS_LOST, message, Severity.WARNING)
    if closed:
        draft.record_event(EventType.WORKERS_CLOSED, about_workers(closed, "has ended", "have ended"))


def _cost(departures: Sequence[Departure | None]) -> str:
    """`` This costs 3 tasks to run again.``, to append to a sentence; "" if nothing was lost."""
    counted = [departure for departure in departures if departure is not None]
    tasks = sum(departure.tasks_lost for departure in counted)
    results = sum(departure.results_lost for departure in counted)
    scattered = sum(departure.scattered_lost for departure in counted)
    parts = [
        f"{count(tasks, 'task')} to run again" if tasks else "",
        f"{count(results, 'result')} to compute again" if results else "",
        f"{count(scattered, 'piece')} of scattered data, which cannot be restored" if scattered else "",
    ]
    parts = [part for part in parts if part]
    return f" This costs {', '.join(parts)}." if parts else ""
