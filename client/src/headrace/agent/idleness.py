"""When a scheduler is needed no more: Dask's idle time-out, for which a client that has results counts as activity."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from headrace.agent.scheduler_state import is_user

if TYPE_CHECKING:
    from distributed import Scheduler


class IdleTimeout:
    """Takes the time-out over from a scheduler, whose own rule sees tasks only, and goes by a clock that may jump."""

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float] = time.monotonic) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self.seconds = scheduler.idle_timeout or 0.0
        scheduler.idle_timeout = None
        self._seen: float | None = None  # since when Dask calls it idle, by its own clock
        self._since = 0.0

    def passed(self) -> bool:
        """Whether the scheduler has had nothing to do for too long, and no client has futures. Called regularly."""
        seen = None if has_futures(self._scheduler) else self._scheduler.check_idle()
        if seen is None or seen != self._seen:
            self._seen, self._since = seen, self._clock()
            return False
        return 0 < self.seconds <= self._clock() - self._since


def has_futures(scheduler: Scheduler) -> bool:
    """Whether a connected client of a user holds futures, finished ones included."""
    return any(
        is_user(name) and (client := scheduler.clients.get(name)) is not None and client.wants_what
        for name in scheduler.client_comms
    )
