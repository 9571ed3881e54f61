"""How many workers a scheduler's work is worth. Pure: tables test it."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Below so many seconds a rate of finished tasks says nothing.
_SHORTEST_SPAN = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A look at a scheduler.

    Attributes
    ----------
    target
        What Dask's own estimate asks for; it goes by the expected run time of tasks.
    backlog
        Tasks that could run or are running.
    finished
        Tasks finished since the scheduler's start.
    workers, threads
        Running ones.
    """

    target: int
    backlog: int
    finished: int
    workers: int
    threads: int


class Demand:
    """Looks at the load again and again.

    Dask's estimate leaves out what surrounds a task: with many short ones, sending and waiting takes longer than
    running, and the estimate asks for next to nothing while the queue grows. So the time until the backlog is done, at
    the rate at which tasks really end, counts too.
    """

    def __init__(self, target_duration: float) -> None:
        self._target_duration = target_duration
        self._before: tuple[float, int] | None = None

    def wanted(self, load: Load, now: float) -> int:
        """Number of workers worth having; `now` in seconds of any clock."""
        return max(load.target, self._by_rate(load, now))

    def _by_rate(self, load: Load, now: float) -> int:
        if self._before is None:
            self._before = (now, load.finished)
        span, finished = now - self._before[0], load.finished - self._before[1]
        if span < _SHORTEST_SPAN:
            return 0
        self._before = (now, load.finished)
        if finished <= 0 or load.backlog <= load.threads or not load.workers:
            return 0
        seconds_left = load.backlog * span / finished
        if seconds_left <= self._target_duration:
            return 0
        wanted = math.ceil(load.workers * seconds_left / self._target_duration)
        # Twice as many at most, then look again: the scheduler itself may be what bounds the rate.
        useful = math.ceil(load.backlog * load.workers / load.threads)
        return min(wanted, 2 * load.workers, useful)
