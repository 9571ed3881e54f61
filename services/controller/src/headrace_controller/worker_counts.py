"""Workers that keep count of their states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from typing_extensions import override

from headrace_controller.model import WorkerId, WorkerRecord, WorkerState


class Workers(dict[WorkerId, WorkerRecord]):
    """Workers by id, oldest first, that keep count of their states; change them one by one.

    A copy of `Workers` takes over their counts, so that nobody counts thousands again because one has changed.
    """

    def __init__(self, workers: Mapping[WorkerId, WorkerRecord]) -> None:
        super().__init__(workers)
        self.counts = count_states(workers).copy()

    @override
    def __setitem__(self, worker: WorkerId, record: WorkerRecord) -> None:
        self._uncount(worker)
        self.counts[record.group, record.state] += 1
        super().__setitem__(worker, record)

    @override
    def __delitem__(self, worker: WorkerId) -> None:
        self._uncount(worker)
        super().__delitem__(worker)

    def _uncount(self, worker: WorkerId) -> None:
        if (record := self.get(worker)) is not None:
            self.counts[record.group, record.state] -= 1


def count_states(workers: Mapping[WorkerId, WorkerRecord]) -> Counter[tuple[str, WorkerState]]:
    """Number of workers by group and state, not to be changed."""
    if isinstance(workers, Workers):
        return workers.counts
    return Counter((worker.group, worker.state) for worker in workers.values())
