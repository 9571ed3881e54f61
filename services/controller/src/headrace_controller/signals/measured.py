"""What was measured of clusters, and whom to ask. No I/O: decisions import this."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from headrace_controller.model import ClusterId


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One sample of a cluster, all of it taken at `time`. Times in Unix seconds, by the clock of whoever sampled.

    A tenant's own scheduler says all this: it may lie about its own cluster, and about no other.

    Attributes
    ----------
    idle_since
        Time since which no task is queued, runs or is being received; None while there is work.
    active
        Time of the last activity: work, a graph that came, or a client that came or left.
    clients
        Connected clients of users; those whose connection is interrupted count during their grace.
    queued_tasks, processing_tasks
        Tasks that wait for a worker (tasks that no worker can run among them); that workers have.
    held_tasks, held_bytes
        Results that workers hold, and their size.
    spilled_bytes
        What workers have written to disk for lack of memory.
    workers
        Workers that have joined.
    memory_bytes, cores
        What the processes of the workers really use.
    core_seconds, memory_byte_seconds
        The same, integrated since the scheduler started; never falls while it lives.
    """

    time: float
    idle_since: float | None = None
    active: float = 0.0
    clients: int = 0
    queued_tasks: int = 0
    processing_tasks: int = 0
    held_tasks: int = 0
    held_bytes: int = 0
    spilled_bytes: int = 0
    workers: int = 0
    memory_bytes: int = 0
    cores: float = 0.0
    core_seconds: float = 0.0
    memory_byte_seconds: float = 0.0


class Absence(StrEnum):
    """Why there is no sample to decide upon."""

    MISSING = "missing"  # none was ever taken since this replica has the cluster
    STALE = "stale"  # the last one is too old


@dataclass(frozen=True, slots=True, kw_only=True)
class NotMeasured:
    """Nothing may be culled or stopped on account of this. `last` is the sample that is too old, for people to see."""

    absence: Absence
    last: Measured | None = None


class QueryFailed(Exception):
    """A query had no usable answer; the message says why, and nothing may be concluded."""


class Signals(Protocol):
    """Measurements of this replica's clusters."""

    def of(self, cluster: ClusterId) -> Measured | NotMeasured:
        """Return the newest sample, from memory."""
        ...

    def on_change(self, callback: Callable[[ClusterId], None]) -> None:
        """Call this with each cluster that has become idle, busy, connected, abandoned, measured or not measured."""
        ...

    async def query(self, promql: str) -> Mapping[ClusterId, float]:
        """Answer a rule of an administrator's own: the values of its series by their label `cluster`.

        "Not a number" stands for a cluster of which there are several series, so that nothing is known of it.
        Raises `QueryFailed`, always where there is no Prometheus.
        """
        ...

    async def run(self) -> None:
        """Measure again and again until cancelled."""
        ...
