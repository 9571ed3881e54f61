"""What a scheduler is measured by. headrace decides on idleness and use by these numbers."""
# ruff: noqa: ARG002 Dask calls its hooks with these names

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, cast

from distributed.diagnostics.plugin import SchedulerPlugin

from headrace.agent.scheduler_state import is_user

if TYPE_CHECKING:
    from distributed import Scheduler
    from distributed.scheduler import WorkerState


class Metric(NamedTuple):
    """A metric as the page shows it."""

    name: str
    kind: str
    help: str
    value: float


class Meter(SchedulerPlugin):
    """Measures a scheduler by a clock that does not jump. `update` is called regularly."""

    name = "headrace-meter"

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float] = time.monotonic) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._seen: float | None = None  # since when Dask calls it idle, by its own clock
        self._idle_since: float | None = None
        self._started = self._active = self._updated = clock()
        self._memory = self._cores = 0.0
        self._core_seconds = self._memory_byte_seconds = 0.0
        scheduler.add_plugin(self)

    def update_graph(self, scheduler: Scheduler, **kwargs: object) -> None:
        self._active = self._clock()

    def add_client(self, scheduler: Scheduler, client: str) -> None:
        self._note_client(client)

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        self._note_client(client)

    def _note_client(self, client: str) -> None:
        if is_user(client):
            self._active = self._clock()

    def update(self) -> None:
        """Takes note of idleness, and adds what was used since the last time."""
        now = self._clock()
        passed, self._updated = now - self._updated, now
        self._core_seconds += self._cores * passed
        self._memory_byte_seconds += self._memory * passed
        workers = self._scheduler.workers.values()
        self._memory = sum(map(memory_of, workers))
        self._cores = sum(map(cores_of, workers))
        seen = self._scheduler.check_idle()
        if seen is None:
            self._idle_since, self._active = None, now
        elif seen != self._seen:
            self._idle_since = self._active = now
        self._seen = seen

    def metrics(self) -> Iterable[Metric]:
        """Returns all that is measured, as it is now."""
        self.update()
        now, scheduler = self._updated, self._scheduler
        workers = scheduler.workers.values()
        clients = sum(is_user(client) for client in scheduler.client_comms)
        idle = 0.0 if self._idle_since is None else now - self._idle_since
        return (
            _gauge("idle_seconds", "Time since which there is no work; 0 while there is some.", idle),
            _gauge(
                "inactive_seconds", "Time since the last work, graph, or coming or going client.", now - self._active
            ),
            _gauge("uptime_seconds", "Time since the scheduler started.", now - self._started),
            _gauge("clients", "Connected clients of users; those that are away count during their grace.", clients),
            _gauge(
                "queued_tasks",
                "Tasks that wait for a worker, or that no worker can run.",
                len(scheduler.queued) + len(scheduler.unrunnable),
            ),
            _gauge("processing_tasks", "Tasks that workers have.", sum(len(worker.processing) for worker in workers)),
            _gauge("held_tasks", "Results that workers hold, copies included.", sum(len(w.has_what) for w in workers)),
            _gauge("held_bytes", "Size of the results that workers hold.", sum(worker.nbytes for worker in workers)),
            _gauge(
                "spilled_bytes", "Results on the workers' disks, for lack of memory.", sum(map(spilled_by, workers))
            ),
            _gauge("workers", "Workers that have joined.", len(workers)),
            _gauge("worker_memory_bytes", "Memory that the processes of the workers use.", self._memory),
            _gauge("worker_cores", "Cores that the processes of the workers use.", self._cores),
            _counter("worker_core_seconds", "Time of cores that workers have used.", self._core_seconds),
            _counter("worker_memory_byte_seconds", "Memory that workers used, times time.", self._memory_byte_seconds),
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    return Metric(f"headrace_scheduler_{name}", "gauge", text, value)


def _counter(name: str, text: str, value: float) -> Metric:
    return Metric(f"headrace_scheduler_{name}_total", "counter", text, value)


def memory_of(worker: WorkerState) -> float:
    """Returns the bytes that a worker's process uses, as it said last."""
    return _number(cast("Mapping[str, object]", worker.metrics).get("memory"))


def cores_of(worker: WorkerState) -> float:
    """Returns the cores that it uses."""
    return _number(cast("Mapping[str, object]", worker.metrics).get("cpu")) / 100


def spilled_by(worker: WorkerState) -> float:
    """Returns the bytes of its results that are on its disk."""
    spilled = cast("Mapping[str, object]", worker.metrics).get("spilled_bytes")
    return _number(cast("Mapping[str, object]", spilled).get("disk")) if isinstance(spilled, Mapping) else 0.0


def _number(value: object) -> float:
    """A worker's metrics are what its tenant's code makes of them: what is no amount counts as nothing."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value >= 0 else 0.0
