"""Whether a platform answers, and since when: short interruptions leave no trace."""

from __future__ import annotations

import pytest

from headrace_controller.backends.contact import Contact, ContactRecord


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def record(clock: Clock) -> ContactRecord:
    return ContactRecord(clock=clock)


def test_it_says_since_when_and_why_nothing_is_heard(record: ContactRecord, clock: Clock) -> None:
    assert record.current == Contact(100)
    for clock.now, why in ((110, "refused"), (120, "timed out")):
        record.failed(why)
        assert record.current == Contact(110, "refused")
    clock.now = 130
    for _ in range(2):
        record.answered()
        assert record.current == Contact(130)
        clock.now = 140


def test_a_short_interruption_counts_as_none(record: ContactRecord, clock: Clock) -> None:
    for _ in range(10):
        clock.now += 10
        record.failed("reset")
        clock.now += 1.9
        record.answered()
        assert record.current == Contact(100)


def test_one_request_that_waits_while_others_are_answered_is_no_absence(record: ContactRecord, clock: Clock) -> None:
    clock.now = 110
    record.answered()
    clock.now = 120
    record.failed("a webhook is slow", waited=20)
    assert record.current == Contact(100)
    record.failed("timed out", waited=5)
    assert record.current == Contact(120, "timed out")


def test_only_changes_are_told(record: ContactRecord, clock: Clock) -> None:
    told: list[Contact] = []
    record.on_change(lambda: told.append(record.current))
    for happened in (record.answered, lambda: record.failed("a"), lambda: record.failed("b"), record.answered):
        clock.now += 10
        happened()
    assert told == [Contact(120, "a"), Contact(140)]
