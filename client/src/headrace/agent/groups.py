"""Which group a worker belongs to: its id is ``{group}-{number}-{random}``, and its name in Dask is its id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from distributed.core import Status

if TYPE_CHECKING:
    from distributed import Scheduler
    from distributed.scheduler import WorkerState

# Workers that stay unless somebody says otherwise.
_STAYING = (Status.running, Status.paused, Status.init)


def group_of(process: object) -> str:
    """The group in a worker's id."""
    return str(process).rsplit("-", 2)[0]


def staying(scheduler: Scheduler, group: str | None = None) -> Iterator[WorkerState]:
    """Running workers, of one group or of all, that are not about to leave."""
    for worker in scheduler.workers.values():
        if worker.status in _STAYING and (group is None or group_of(worker.name) == group):
            yield worker


def staying_counts(scheduler: Scheduler) -> Counter[str]:
    """How many workers of each group stay."""
    return Counter(group_of(worker.name) for worker in staying(scheduler))
