"""The agent's plugin of the scheduler: notices workers, clients and tasks, and the scheduler's end."""
# ruff: noqa: ARG002 Dask calls its hooks with these names

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, cast

from distributed.diagnostics.plugin import SchedulerPlugin

from headrace.agent import worker_deaths
from headrace.agent.pending_reports import NOTHING_LOST, Departure, PendingReports
from headrace.internal.v1 import agent_service_pb2 as pb

if TYPE_CHECKING:
    from distributed import Scheduler

# Distinguishes retirements that headrace instructed from all other removals of workers.
RETIRE_STIMULUS = "headrace-retire"
# Workers whose connection broke and whose nannies may still say why.
_LOST_REMEMBERED = 1000


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
        self._lost: dict[str, str] = {}
        self._deaths: dict[str, Departure] = {}

    def workers(self) -> list[pb.JoinedWorker]:
        """Returns all workers that have joined."""
        return [pb.JoinedWorker(process=process, address=address) for address, process in self._processes.items()]

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        process = str(scheduler.workers[worker].name)
        self._processes[worker] = process
        self._pending.add_joined(process, worker)
        self._wake()

    def log_event(self, topic: str, msg: object) -> None:
        """Reports a worker that left. Dask logs this event first, with what was lost, then calls `remove_worker`.

        How its process died is logged by its nanny, before or after that.
        """
        if not isinstance(msg, dict):
            return
        event = cast("Mapping[str, object]", msg)
        address = str(event.get("worker"))
        # Users log events too, whatever they please.
        if topic == worker_deaths.TOPIC:
            self._report_death(address, worker_deaths.from_event(event))
        elif topic == "all" and event.get("action") == "remove-worker" and address not in self._scheduler.workers:
            self._report_left(address, str(event.get("stimulus_id")), event)

    def remove_worker(self, scheduler: Scheduler, worker: str, *, stimulus_id: str, **kwargs: object) -> None:
        self._report_left(worker, stimulus_id)

    def _report_left(self, address: str, stimulus_id: str, event: Mapping[str, object] | None = None) -> None:
        process, death = self._processes.pop(address, None), self._deaths.pop(address, None)
        if process is None:
            return
        if event is None or event.get("expected", True):  # it lost what nobody needs
            departure = NOTHING_LOST
        elif death is not None:
            departure = _losses(event) + death
        else:
            departure = _losses(event)
            self._lost[address] = process
            if len(self._lost) > _LOST_REMEMBERED:
                del self._lost[next(iter(self._lost))]
        self._pending.add_left(process, departure, retired=stimulus_id.startswith(RETIRE_STIMULUS))

    def _report_death(self, address: str, death: Departure) -> None:
        if address in self._processes:
            self._deaths[address] = death
        elif (process := self._lost.pop(address, None)) is not None and process not in self._processes.values():
            self._pending.add_left(process, death)

    def update_graph(self, scheduler: Scheduler, **kwargs: object) -> None:
        self._wake()

    def add_client(self, scheduler: Scheduler, client: str) -> None:
        self._wake()

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        self._wake()

    async def before_close(self) -> None:
        await self._before_close()


def _losses(event: Mapping[str, object]) -> Departure:
    return Departure(
        tasks=_count(event.get("processing-tasks")),
        results=_count(event.get("lost-computed-tasks")),
        scattered=_count(event.get("lost-scattered-tasks")),
    )


def _count(tasks: object) -> int:
    return len(tasks) if isinstance(tasks, Collection) else 0
