"""Adaptive scaling at work: looks at the scheduler, and tells the controller what it wants."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dask.config
from dask.utils import parse_timedelta

from headrace.agent.adaptive import Range, Steadied, divide
from headrace.agent.demand import Demand, Load
from headrace.agent.groups import staying_counts
from headrace.agent.outbox import Outbox

if TYPE_CHECKING:
    from distributed import Scheduler

# A wish that was not fulfilled (a limit may have been in its way) is told again after so many seconds.
_AGAIN_SECONDS = 10.0


class Scaling:
    """Wishes for workers, for each group with a range.

    Parameters
    ----------
    samples
        So many regular looks in a row must ask for less before the wish goes down.
    """

    def __init__(self, scheduler: Scheduler, outbox: Outbox, samples: int) -> None:
        self._scheduler = scheduler
        self._outbox = outbox
        self._samples = samples
        target_duration = parse_timedelta(dask.config.get("distributed.adaptive.target-duration"))
        self._demand = Demand(target_duration)
        self._ranges: tuple[Range, ...] = ()
        self._sizes: dict[str, int] = {}
        self._steadied: dict[str, Steadied] = {}
        self._told: dict[str, tuple[int, float]] = {}

    def instruct(self, ranges: Sequence[Range], sizes: dict[str, int]) -> None:
        """Takes the groups to look after, and the sizes that are wanted of them now."""
        if tuple(ranges) != self._ranges:
            self._ranges = tuple(ranges)
            self._steadied = {r.group: self._steadied.get(r.group, Steadied(self._samples)) for r in ranges}
            self._told.clear()
        self._sizes = sizes

    def forget_told(self) -> None:
        """A new session knows nothing of what was told in the one before."""
        self._told.clear()

    def look(self, *, regular: bool) -> None:
        """Looks at the load; between the regular looks, only upwards."""
        if not self._ranges:
            return
        now = time.monotonic()
        running = staying_counts(self._scheduler)
        wanted = self._demand.wanted(load_of(self._scheduler), now)
        sizes = divide(wanted, self._ranges, running)
        for r in self._ranges:
            size = sizes[r.group]
            steadied = self._steadied[r.group]
            self._wish(r, r.clamp(steadied.look(size) if regular else steadied.raise_to(size)), now)

    def _wish(self, r: Range, size: int, now: float) -> None:
        told, when = self._told.get(r.group, (self._sizes.get(r.group, -1), now))
        unfulfilled = size != self._sizes.get(r.group) and now - when > _AGAIN_SECONDS
        if size != told or unfulfilled:
            self._told[r.group] = (size, now)
            self._outbox.wish(r.group, size)


def load_of(scheduler: Scheduler) -> Load:
    """Looks at the scheduler; cheap enough for once a second with thousands of workers."""
    workers = scheduler.workers.values()
    running = sum(len(worker.processing) for worker in workers)
    return Load(
        target=scheduler.adaptive_target(),
        backlog=running + len(scheduler.queued) + len(scheduler.unrunnable),
        finished=sum(prefix.state_counts["memory"] for prefix in scheduler.task_prefixes.values()),
        workers=len(workers),
        threads=sum(worker.nthreads for worker in workers),
    )
