"""Workers are retired as ordered: their data moves to others first, then they close."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from headrace.agent.groups import staying
from headrace.agent.outbox import Outbox
from headrace.agent.plugin import RETIRE_STIMULUS

if TYPE_CHECKING:
    from distributed import Scheduler
    from distributed.scheduler import WorkerState

logger = logging.getLogger("headrace.agent")

# A worker that holds the only copy of something while no other has room is asked again after so many seconds.
_AGAIN_SECONDS = 2.0


class Retirement:
    """Brings the number of running workers of a group down to what was ordered last."""

    def __init__(self, scheduler: Scheduler, outbox: Outbox) -> None:
        self._scheduler = scheduler
        self._outbox = outbox
        self._keep: dict[str, int] = {}
        self._moving: set[asyncio.Task[None]] = set()
        self._not_before: dict[str, float] = {}
        self._told: set[str] = set()

    def order(self, keep: Mapping[str, int]) -> None:
        """Takes the orders that hold from now on; workers that are already leaving go on leaving."""
        self._keep = dict(keep)
        self._told &= self._keep.keys()

    def look(self) -> None:
        """Carries out the orders on what runs now; to be called again and again, as workers join."""
        for group, keep in self._keep.items():
            if time.monotonic() >= self._not_before.get(group, 0):
                self._retire_excess(group, keep)

    def _retire_excess(self, group: str, keep: int) -> None:
        running = list(staying(self._scheduler, group))
        leaving = cheapest(running, len(running) - keep)
        if leaving:
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
        kept = [address for address in addresses if address not in retired and address in self._scheduler.workers]
        if kept:
            self._not_before[group] = time.monotonic() + _AGAIN_SECONDS
        if kept and group not in self._told:
            self._told.add(group)
            self._outbox.event(
                "RETIRE_WAITS",
                f"{len(kept)} workers of group {group} hold the only copy of data for which no other worker has room; "
                "they leave as soon as the data is released",
                warning=True,
            )


def cheapest(workers: Iterable[WorkerState], count: int) -> list[WorkerState]:
    """The workers whose end costs least: without tasks that cannot move, without tasks, with little data."""
    return sorted(workers, key=lambda w: (bool(w.long_running), len(w.processing), w.nbytes))[: max(0, count)]
