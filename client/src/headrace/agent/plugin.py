"""The agent's plugin of the scheduler: notices workers, clients and tasks, and the scheduler's end."""
# ruff: noqa: ARG002 Dask calls its hooks with these names

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, cast

from distributed.diagnostics.plugin import SchedulerPlugin

from headrace.agent.pending_reports import NO_LOSSES, Losses, PendingReports
from headrace.internal.v1 import agent_service_pb2 as pb

if TYPE_CHECKING:
    from distributed import Scheduler

# Distinguishes retirements that headrace instructed from all other removals of workers.
RETIRE_STIMULUS = "headrace-retire"


class AgentPlugin(SchedulerPlugin):
    """Reports workers that join and leave.

    Parameters
    ----------
    wake
        Called when workers, clients or tasks have come. There is no hook for single tasks: Dask would call it for each
        step of each task.
    before_close
        Awaited before the scheduler closes anything.
    """

    name = "headrace-agent"

    def __init__(
        self,
        scheduler: Scheduler,
        pending: PendingReports,
        wake: Callable[[], None],
        before_close: Callable[[], Awaitable[None]],
    ) -> None:
        self._scheduler = scheduler
        self._pending = pending
        self._wake = wake
        self._before_close = before_close
        # By address: when a worker has left, its scheduler no longer knows its name.
        self._processes: dict[str, str] = {}

    def workers(self) -> list[pb.JoinedWorker]:
        """Returns all workers that have joined."""
        return [pb.JoinedWorker(process=process, address=address) for address, process in self._processes.items()]

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        process = str(scheduler.workers[worker].name)
        self._processes[worker] = process
        self._pending.add_joined(process, worker)
        self._wake()

    def log_event(self, topic: str, msg: object) -> None:
        """Reports a worker that left. Dask logs this event first, with what was lost, then calls `remove_worker`."""
        if topic == "all" and isinstance(msg, dict):
            event = cast("Mapping[str, object]", msg)
            address = str(event.get("worker"))
            # Users log events too, whatever they please.
            if event.get("action") == "remove-worker" and address not in self._scheduler.workers:
                self._report_left(address, str(event.get("stimulus_id")), _losses(event))

    def remove_worker(self, scheduler: Scheduler, worker: str, *, stimulus_id: str, **kwargs: object) -> None:
        self._report_left(worker, stimulus_id)

    def _report_left(self, address: str, stimulus_id: str, losses: Losses = NO_LOSSES) -> None:
        process = self._processes.pop(address, None)
        if process is not None:
            self._pending.add_left(process, losses, retired=stimulus_id.startswith(RETIRE_STIMULUS))

    def update_graph(self, scheduler: Scheduler, **kwargs: object) -> None:
        self._wake()

    def add_client(self, scheduler: Scheduler, client: str) -> None:
        self._wake()

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        self._wake()

    async def before_close(self) -> None:
        await self._before_close()


def _losses(event: Mapping[str, object]) -> Losses:
    """Returns what an unexpected removal cost; an expected one lost what nobody needs."""
    if event.get("expected", True):
        return NO_LOSSES
    return Losses(
        tasks=_count(event.get("processing-tasks")),
        results=_count(event.get("lost-computed-tasks")),
        scattered=_count(event.get("lost-scattered-tasks")),
    )


def _count(tasks: object) -> int:
    return len(tasks) if isinstance(tasks, Collection) else 0
