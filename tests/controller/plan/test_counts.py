"""Numbers of workers: what is missing and what is too many."""

from __future__ import annotations

import pytest
from tests.controller.builders import running_cluster, running_worker, worker

from headrace_controller.model import AdaptRange, Group, WorkerState
from headrace_controller.plan.counts import GroupCount, count_workers


@pytest.mark.parametrize(
    ("desired", "running", "pending", "missing", "surplus_pending", "surplus_running"),
    [
        (0, 0, 0, 0, 0, 0),
        (3, 1, 1, 1, 0, 0),
        (2, 1, 2, 0, 1, 0),
        (1, 2, 1, 0, 1, 1),
        (0, 3, 0, 0, 0, 3),
        (2, 2, 2, 0, 2, 0),
    ],
)
def test_pending_workers_are_the_first_to_go(
    desired: int, running: int, pending: int, missing: int, surplus_pending: int, surplus_running: int
) -> None:
    count = GroupCount("default", desired, running, [worker(f"default-{n}") for n in range(pending)])
    assert (count.missing, count.surplus_pending, count.surplus_running) == (missing, surplus_pending, surplus_running)


def test_workers_are_counted_by_group_and_none_is_wanted_of_a_group_that_was_removed() -> None:
    workers = (
        running_worker("default-1"),
        worker("default-2", WorkerState.RETIRING),
        worker("default-3"),
        worker("default-4", WorkerState.CLOSED),
        worker("default-5", WorkerState.FAILED),
        running_worker("gone-6"),
    )
    groups = [Group(size=3), Group(name="empty", size=1, adapt=AdaptRange(minimum=0))]
    counts = count_workers(running_cluster(*workers, groups=groups, targets={"empty": 4}))
    assert {name: (c.desired, c.running, len(c.pending)) for name, c in counts.items()} == {
        "default": (3, 1, 1),
        "empty": (4, 0, 0),
        "gone": (0, 1, 0),
    }
