"""Adaptive scaling at work: reads the scheduler's load and requests sizes from the controller."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import dask.config
from dask.utils import parse_timedelta

from headrace.agent.adaptive import DemandEstimate, GroupRange, Hysteresis, divide
from headrace.agent.pending_reports import PendingReports
from headrace.agent.scheduler_state import load_of, staying_counts

if TYPE_CHECKING:
    from distributed import Scheduler

# A request that is not granted, as when a limit binds, is repeated after this time.
_REPEAT_SECONDS = 10.0


class Scaling:
    """Requests workers for each group with a range.

    Parameters
    ----------
    samples
        Number of regular checks in a row that must find less to do before a smaller size is requested.
    """

    def __init__(self, scheduler: Scheduler, pending: PendingReports, samples: int) -> None:
        self._scheduler = scheduler
        self._pending = pending
        self._samples = samples
        self._demand = DemandEstimate(parse_timedelta(dask.config.get("distributed.adaptive.target-duration")))
        self._ranges: tuple[GroupRange, ...] = ()
        self._desired: Mapping[str, int] = {}
        self._hysteresis: dict[str, Hysteresis] = {}
        self._requested: dict[str, tuple[int, float]] = {}

    def apply(self, ranges: Sequence[GroupRange], desired: Mapping[str, int]) -> None:
        """Replaces the groups to scale, and the sizes that they are to have now."""
        if tuple(ranges) != self._ranges:
            self._ranges = tuple(ranges)
            self._hysteresis = {r.group: self._hysteresis.get(r.group, Hysteresis(self._samples)) for r in ranges}
            self._requested.clear()
        self._desired = desired

    def repeat_requests(self) -> None:
        """Makes the next check request each size again: a new session knows nothing of the previous one."""
        self._requested.clear()

    def check(self, *, regular: bool) -> None:
        """Requests what the load asks for; checks between the regular ones only raise sizes."""
        if not self._ranges:
            return
        now = time.monotonic()
        wanted = self._demand.workers(load_of(self._scheduler), now)
        sizes = divide(wanted, self._ranges, staying_counts(self._scheduler))
        for r in self._ranges:
            hysteresis = self._hysteresis[r.group]
            settle = hysteresis.sample if regular else hysteresis.raise_to
            self._request(r.group, r.clamp(settle(sizes[r.group])), now)

    def _request(self, group: str, size: int, now: float) -> None:
        desired = self._desired.get(group)
        requested, at = self._requested.get(group, (desired, now))
        not_granted = size != desired and now - at > _REPEAT_SECONDS
        if size != requested or not_granted:
            self._requested[group] = (size, now)
            self._pending.set_scale_request(group, size)
