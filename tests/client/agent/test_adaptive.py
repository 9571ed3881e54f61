"""The policy of adaptive scaling: sizes of groups, demand, hysteresis."""

from __future__ import annotations

import pytest

from headrace.agent.adaptive import DemandEstimate, GroupRange, Hysteresis, Load, divide

CPU, GPU = GroupRange("cpu", 0, 8), GroupRange("gpu", 1, 2)
UNBOUNDED = GroupRange("any", 0, None)


@pytest.mark.parametrize(
    ("wanted", "ranges", "running", "sizes"),
    [
        (5, [CPU], {"cpu": 2}, {"cpu": 5}),
        (50, [CPU], {"cpu": 2}, {"cpu": 8}),
        (0, [GPU], {"gpu": 2}, {"gpu": 1}),
        (5, [CPU], {"cpu": 2, "fixed": 3}, {"cpu": 2}),
        (2, [CPU], {"fixed": 3}, {"cpu": 0}),
        (9, [CPU, GPU], {"cpu": 8}, {"cpu": 8, "gpu": 1}),
        (20, [CPU, GPU], {}, {"cpu": 8, "gpu": 2}),
        (3, [], {"fixed": 3}, {}),
        (500, [UNBOUNDED, GPU], {}, {"any": 500, "gpu": 1}),
        (2, [UNBOUNDED], {"fixed": 3}, {"any": 0}),
    ],
)
def test_workers_are_divided_over_groups(
    wanted: int, ranges: list[GroupRange], running: dict[str, int], sizes: dict[str, int]
) -> None:
    assert divide(wanted, ranges, running) == sizes


def test_a_size_rises_at_once_and_falls_after_some_samples() -> None:
    hysteresis = Hysteresis(3)
    assert [hysteresis.sample(size) for size in (1, 5, 0, 0, 0, 2)] == [1, 5, 5, 5, 0, 2]


def test_a_check_between_regular_ones_only_raises() -> None:
    hysteresis = Hysteresis(3)
    hysteresis.sample(2)
    assert hysteresis.raise_to(6) == 6
    assert hysteresis.raise_to(0) == 6
    assert [hysteresis.sample(0) for _ in range(3)] == [6, 6, 0]


def test_a_check_before_the_first_regular_one_counts() -> None:
    hysteresis = Hysteresis(3)
    assert hysteresis.raise_to(4) == 4


def _load(**changes: int) -> Load:
    return Load(**{"target": 1, "backlog": 1000, "finished": 0, "workers": 2, "threads": 4, **changes})


def test_many_short_tasks_ask_for_workers_by_the_rate_at_which_they_finish() -> None:
    demand = DemandEstimate(target_duration=5)
    demand.workers(_load(), now=0)
    assert demand.workers(_load(finished=100), now=1) == 4  # 10 s of work left at this rate; at most twice as many


def test_a_backlog_that_is_soon_done_asks_for_nothing_more() -> None:
    demand = DemandEstimate(target_duration=5)
    demand.workers(_load(), now=0)
    assert demand.workers(_load(finished=900, backlog=100), now=1) == 1


def test_a_backlog_no_larger_than_the_threads_needs_no_more_workers() -> None:
    demand = DemandEstimate(target_duration=5)
    demand.workers(_load(backlog=4), now=0)
    assert demand.workers(_load(backlog=4, finished=1), now=1) == 1


def test_dasks_own_estimate_counts_where_it_asks_for_more() -> None:
    assert DemandEstimate(target_duration=5).workers(_load(target=7), now=0) == 7


def test_two_checks_in_quick_succession_say_nothing_about_a_rate() -> None:
    demand = DemandEstimate(target_duration=5)
    demand.workers(_load(), now=0)
    assert demand.workers(_load(finished=1), now=0.1) == 1
