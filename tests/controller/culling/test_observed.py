"""Since when a state is observed: pauses do not count."""

from __future__ import annotations

import pytest

from headrace_controller.culling.observed import first, of_another
from headrace_controller.signals.measured import Absence, Measured, NotMeasured

STALE = NotMeasured(absence=Absence.STALE)


def test_each_state_counts_from_the_first_sample_that_shows_it() -> None:
    observed = first(Measured(time=10, clients=1, held_tasks=3))
    assert (observed.since, observed.empty_since, observed.abandoned_since) == (10, None, None)
    observed = observed.next(Measured(time=20, clients=0, held_tasks=3)).next(Measured(time=30))
    assert (observed.since, observed.empty_since, observed.abandoned_since) == (10, 30, 20)
    observed = observed.next(Measured(time=40, clients=1))
    assert (observed.empty_since, observed.abandoned_since) == (30, None)


def test_a_short_pause_of_a_cluster_that_works_does_not_count_and_what_was_before_goes_on() -> None:
    busy = first(Measured(time=10)).next(STALE).next(Measured(time=60, active=60))
    assert (busy.since, busy.abandoned_since, busy.pauses) == (10, 10, ((10, 60),))
    assert [busy.counting_from(time) for time in (0, 10, 40, 60, 70)] == [50, 60, 60, 60, 70]


def test_a_long_pause_does_not_count_if_nothing_happened_in_it() -> None:
    observed = first(Measured(time=10, active=5)).next(STALE)
    assert observed.sample is STALE
    assert observed.next(Measured(time=1010, active=5)).counting_from(5) == 1005


@pytest.mark.parametrize(
    "sample",
    [
        Measured(time=1010, active=1010),  # it works
        Measured(time=1010, active=11, idle_since=5),  # somebody came
        Measured(time=40, active=11, idle_since=5),
    ],
)
def test_after_a_pause_in_which_something_may_have_happened_all_begins_again(sample: Measured) -> None:
    assert first(Measured(time=10, active=5)).next(STALE).next(sample) == first(sample)


def test_a_sample_from_before_a_pause_does_not_end_it() -> None:
    observed = first(Measured(time=10)).pause().next(Measured(time=10))
    assert observed.pauses == ()
    assert observed.next(Measured(time=12)).pauses == ((10, 12),)


def test_after_the_clock_was_set_back_all_begins_again() -> None:
    assert first(Measured(time=1000)).pause().next(Measured(time=10)).since == 10


def test_of_many_pauses_the_last_are_known_and_time_before_does_not_count() -> None:
    observed = first(Measured(time=0))
    for time in range(20, 320, 20):
        observed = observed.next(STALE).next(Measured(time=time))
    assert (len(observed.pauses), observed.since, observed.counting_from(observed.since)) == (10, 100, 300)


def test_another_replica_goes_on_from_what_is_kept() -> None:
    marks = first(Measured(time=10, active=5)).next(Measured(time=20, active=5, held_tasks=1)).marks
    assert marks is not None
    observed = of_another(marks).next(Measured(time=30, active=5))
    assert (observed.since, observed.empty_since, observed.abandoned_since) == (10, 30, 10)
    assert observed.counting_from(10) == 20
    assert first(STALE).marks is None
