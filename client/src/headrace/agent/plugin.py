"""The agent's eyes inside the scheduler."""
# ruff: noqa: ARG002 Dask calls its hooks with these names

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, cast

from distributed.diagnostics.plugin import SchedulerPlugin

from headrace.agent.outbox import Outbox
from headrace.internal.v1 import agent_service_pb2 as pb

if TYPE_CHECKING:
    from distributed import Scheduler

# Marks our own retirements among all reasons for which a worker may be removed.
RETIRE_STIMULUS = "headrace-retire"


class AgentPlugin(SchedulerPlugin):
    """Reports workers that come and go, and says when something happened that is worth a look.

    Parameters
    ----------
    wake
        Called when workers, clients or tasks have come. Not `transition`: that is called for every step of every task.
    """

    name = "headrace-agent"

    def __init__(self, outbox: Outbox, wake: Callable[[], None]) -> None:
        self._outbox = outbox
        self._wake = wake
        self._processes: dict[str, str] = {}  # address -> process; a scheduler forgets the name before it tells

    def workers(self) -> list[pb.JoinedWorker]:
        """All workers that have joined."""
        return [pb.JoinedWorker(process=process, address=address) for address, process in self._processes.items()]

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        process = str(scheduler.workers[worker].name)
        self._processes[worker] = process
        self._outbox.joined(process, worker)
        self._wake()

    def remove_worker(self, scheduler: Scheduler, worker: str, *, stimulus_id: str, **kwargs: object) -> None:
        process = self._processes.pop(worker, None)
        if process is not None:
            self._outbox.left(process, retired=stimulus_id.startswith(RETIRE_STIMULUS))

    def update_graph(self, scheduler: Scheduler, **kwargs: object) -> None:
        self._wake()

    def add_client(self, scheduler: Scheduler, client: str) -> None:
        self._wake()

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        self._wake()

    def log_event(self, topic: str, msg: object) -> None:
        if topic == "all" and isinstance(msg, dict):
            event = cast("Mapping[str, object]", msg)
            if event.get("action") == "remove-worker" and not event.get("expected", True):
                self._tell_loss(event)

    def _tell_loss(self, event: Mapping[str, object]) -> None:
        running, computed, scattered = (
            _count(event.get(kind)) for kind in ("processing-tasks", "lost-computed-tasks", "lost-scattered-tasks")
        )
        if running or computed or scattered:
            address = str(event.get("worker"))
            process = self._processes.get(address, address)
            again = f"{running} of its tasks and {computed} results are computed again"
            lost = f"; {scattered} pieces of scattered data are lost" if scattered else ""
            self._outbox.event("WORKER_LOST", f"worker {process} was lost: {again}{lost}", warning=True)


def _count(tasks: object) -> int:
    return len(tasks) if isinstance(tasks, Collection) else 0
