"""Adaptive scaling as a policy: from the load of a scheduler to a size for each group. Pure: tables test it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SAMPLES = 3
# Over a shorter time the number of finished tasks says nothing about their rate.
_SHORTEST_SPAN_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Load of a scheduler.

    Attributes
    ----------
    target
        Number of workers by Dask's own estimate, which goes by the expected run time of tasks.
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


class DemandEstimate:
    """Estimates the number of workers from the load, seen repeatedly.

    Dask's estimate leaves out the overhead of a task: with many short ones, sending and waiting takes longer than
    running, and the estimate asks for next to nothing while the queue grows. So the time until the backlog is done, at
    the rate at which tasks really finish, counts too.

    Parameters
    ----------
    target_duration
        Seconds in which the backlog should be done.
    """

    def __init__(self, target_duration: float) -> None:
        self._target_duration = target_duration
        self._previous: tuple[float, int] | None = None

    def workers(self, load: Load, now: float) -> int:
        """Returns the number of workers worth having; `now` is in seconds of any clock."""
        return max(load.target, self._by_rate(load, now))

    def _by_rate(self, load: Load, now: float) -> int:
        if self._previous is None:
            self._previous = (now, load.finished)
        span, finished = now - self._previous[0], load.finished - self._previous[1]
        if span < _SHORTEST_SPAN_SECONDS:
            return 0
        self._previous = (now, load.finished)
        if finished <= 0 or load.backlog <= load.threads or not load.workers:
            return 0
        seconds_left = load.backlog * span / finished
        if seconds_left <= self._target_duration:
            return 0
        wanted = math.ceil(load.workers * seconds_left / self._target_duration)
        # At most twice as many before the next estimate: the scheduler itself may be what bounds the rate.
        useful = math.ceil(load.backlog * load.workers / load.threads)
        return min(wanted, 2 * load.workers, useful)


@dataclass(frozen=True, slots=True)
class GroupRange:
    """Range of a group with adaptive scaling. `maximum` None means as many workers as the limits allow."""

    group: str
    minimum: int
    maximum: int | None

    def clamp(self, size: int) -> int:
        """Returns the closest size within the range."""
        size = max(self.minimum, size)
        return size if self.maximum is None else min(self.maximum, size)


def divide(wanted: int, ranges: Iterable[GroupRange], running: Mapping[str, int]) -> dict[str, int]:
    """Divides workers over groups: workers of groups of fixed size count first, then each group is filled in turn."""
    ranges = list(ranges)
    adaptive = {r.group for r in ranges}
    left = wanted - sum(count for group, count in running.items() if group not in adaptive)
    sizes: dict[str, int] = {}
    for r in ranges:
        sizes[r.group] = r.clamp(left)
        left -= sizes[r.group]
    return sizes


class Hysteresis:
    """Follows a size upwards at once, and downwards only after a number of lower samples in a row."""

    def __init__(self, samples: int = SAMPLES) -> None:
        self._samples: deque[int] = deque(maxlen=max(1, samples))

    def sample(self, size: int) -> int:
        """Adds a regular sample and returns the size to have."""
        self._samples.append(size)
        return max(self._samples)

    def raise_to(self, size: int) -> int:
        """Returns the size to have after a check between regular ones, which can raise it and is no sample."""
        if not self._samples:
            self._samples.append(size)
        elif size > self._samples[-1]:
            self._samples[-1] = size
        return max(self._samples)
