"""Retires workers as instructed: their data moves to other workers first, then they close."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from headrace.agent.pending_reports import PendingReports
from headrace.agent.plugin import RETIRE_STIMULUS
from headrace.agent.scheduler_state import staying
from headrace.v1 import cluster_pb2

if TYPE_CHECKING:
    from distributed import Scheduler
    from distributed.scheduler import WorkerState

logger = logging.getLogger("headrace.agent")

# Pause before another try at workers that hold the only copy of data while no other has room.
_RETRY_SECONDS = 2.0


class Retirement:
    """Reduces the running workers of each group to the number in the last instruction."""

    def __init__(self, scheduler: Scheduler, pending: PendingReports) -> None:
        self._scheduler = scheduler
        self._pending = pending
        self._keep: dict[str, int] = {}
        self._moving: set[asyncio.Task[None]] = set()
        # Addresses of workers that Dask was asked to retire. It marks them only when no rebalance or replication runs.
        self._asked: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._delay_reported: set[str] = set()

    def apply(self, keep: Mapping[str, int]) -> None:
        """Replaces the numbers to keep; workers that are already leaving continue to leave."""
        self._keep = dict(keep)
        self._delay_reported &= self._keep.keys()

    def check(self) -> None:
        """Retires what is too many now; called repeatedly, as workers join."""
        for group, keep in self._keep.items():
            if time.monotonic() >= self._not_before.get(group, 0):
                self._retire_excess(group, keep)

    def _retire_excess(self, group: str, keep: int) -> None:
        running = [worker for worker in staying(self._scheduler, group) if worker.address not in self._asked]
        leaving = cheapest(running, len(running) - keep)
        if leaving:
            self._asked.update(worker.address for worker in leaving)
            task = asyncio.create_task(self._retire(group, leaving), name=f"headrace retire {group}")
            self._moving.add(task)
            task.add_done_callback(self._moving.discard)

    async def _retire(self, group: str, workers: list[WorkerState]) -> None:
        addresses = [worker.address for worker in workers]
        logger.info("retiring %s", ", ".join(str(worker.name) for worker in workers))
        try:
            retired = await self._scheduler.retire_workers(
                addresses, close_workers=True, remove=True, stimulus_id=f"{RETIRE_STIMULUS}-{time.time()}"
            )
        except Exception:
            logger.exception("workers of group %s could not be retired", group)
            return
        finally:
            self._asked.difference_update(addresses)
        kept = [address for address in addresses if address not in retired and address in self._scheduler.workers]
        if kept:
            self._not_before[group] = time.monotonic() + _RETRY_SECONDS
            self._report_delay(group, len(kept))

    def _report_delay(self, group: str, workers: int) -> None:
        if group in self._delay_reported:
            return
        self._delay_reported.add(group)
        self._pending.add_event(
            cluster_pb2.EVENT_TYPE_RETIREMENT_DELAYED,
            cluster_pb2.SEVERITY_WARNING,
            f"{workers} workers of group {group} hold the only copy of data for which no other worker has room; "
            "they leave as soon as the data is released",
        )


def cheapest(workers: Iterable[WorkerState], count: int) -> list[WorkerState]:
    """Returns the workers that are cheapest to close: without tasks that cannot move, few tasks, little data."""
    return sorted(workers, key=lambda w: (bool(w.long_running), len(w.processing), w.nbytes))[: max(0, count)]
