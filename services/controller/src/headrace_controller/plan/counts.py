"""How many workers a group has, lacks and has too many of: the one rule for the plan and for agents."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace_controller.model import Cluster, WorkerRecord, WorkerState
from headrace_controller.worker_counts import count_states


@dataclass(slots=True)
class GroupCount:
    """The living workers of a group and the number that is wanted. Pending workers are the first to go."""

    group: str
    desired: int
    running: int = 0
    pending: list[WorkerRecord] = field(default_factory=list[WorkerRecord])  # oldest first

    def add(self, worker: WorkerRecord) -> None:
        """Counts a worker that has not ended. One that others are ending is not counted: another one replaces it."""
        if worker.state is WorkerState.PENDING:
            self.pending.append(worker)
        elif worker.state is WorkerState.RUNNING:
            self.running += 1

    @property
    def missing(self) -> int:
        """Number of workers to launch."""
        return max(0, self.desired - self.running - len(self.pending))

    @property
    def surplus_pending(self) -> int:
        """Number of pending workers to close."""
        return min(len(self.pending), max(0, self.running + len(self.pending) - self.desired))

    @property
    def surplus_running(self) -> int:
        """Number of running workers to retire."""
        return max(0, self.running - self.desired)


class GroupCounts(dict[str, GroupCount]):
    """Counts by group, in the order of the spec. No worker is wanted of a group that the spec does not have."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__((group.name, GroupCount(group.name, cluster.desired(group))) for group in cluster.spec.groups)

    def __missing__(self, group: str) -> GroupCount:
        count = self[group] = GroupCount(group, 0)
        return count


def count_workers(cluster: Cluster) -> GroupCounts:
    """Counts the workers as the record has them."""
    counts, pending = GroupCounts(cluster), WorkerState.PENDING
    by_state = count_states(cluster.workers)
    for (group, state), number in by_state.items():
        if number and state is WorkerState.RUNNING:
            counts[group].running += number
    if any(state is pending and number for (_, state), number in by_state.items()):
        for worker in cluster.workers.values():
            if worker.state is pending:
                counts[worker.group].add(worker)
    return counts
