"""Since when a state is observed: a gap starts everything again."""

from __future__ import annotations

from headrace_controller.culling.observed import first
from headrace_controller.signals.measured import Absence, Measured, NotMeasured

STALE = NotMeasured(absence=Absence.STALE)


def test_each_state_counts_from_the_first_sample_that_shows_it() -> None:
    observed = first(Measured(time=10, clients=1, held_tasks=3))
    assert (observed.since, observed.empty_since, observed.abandoned_since) == (10, None, None)
    observed = observed.next(Measured(time=20, clients=0, held_tasks=3)).next(Measured(time=30))
    assert (observed.since, observed.empty_since, observed.abandoned_since) == (10, 30, 20)
    observed = observed.next(Measured(time=40, clients=1))
    assert (observed.empty_since, observed.abandoned_since) == (30, None)


def test_after_a_gap_nothing_has_been_observed_yet() -> None:
    observed = first(Measured(time=10)).next(STALE)
    assert observed.sample is STALE
    observed = observed.next(Measured(time=50))
    assert (observed.since, observed.empty_since, observed.abandoned_since) == (50, 50, 50)
