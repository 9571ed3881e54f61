"""Pauses of launches that the backend refuses: of each group by itself, growing, and over with a success."""

from __future__ import annotations

from headrace.v1.enums import WaitReason
from headrace_controller.model import ClusterId
from headrace_controller.reconciling.start_errors import StartErrors

C1 = ClusterId("c1")


def test_pauses_grow_by_group_until_a_launch_is_accepted() -> None:
    errors = StartErrors(clock=lambda: 100.0)
    pauses: list[float] = []
    for n in range(12):
        errors.record(C1, "gpu", f"no room {n}")
        pauses.append(errors.of(C1)["gpu"].retry_at - 100)
    assert errors.of(C1)["gpu"].message == "no room 11"
    assert 0 < pauses[0] <= 0.1
    assert 5 <= pauses[-1] <= 10
    errors.record(C1, None, "no scheduler")
    assert errors.of(C1)[None].retry_at - 100 <= 0.1
    errors.clear(C1, "gpu")
    assert list(errors.of(C1)) == [None]
    errors.record(C1, "gpu", "again")
    assert errors.of(C1)["gpu"].retry_at - 100 <= 0.1


def test_a_failure_counts_from_when_it_began_to_be_of_its_kind() -> None:
    now = [100.0]
    errors = StartErrors(clock=lambda: now[0])
    away = WaitReason.PLATFORM_AWAY
    since: list[float] = []
    for wait in (away, away, None, None, away):
        errors.record(C1, None, "no", wait=wait)
        since.append(errors.of(C1)[None].since)
        now[0] += 10
    assert since == [100, 100, 120, 120, 140]
    errors.clear(C1, None)
    errors.record(C1, None, "no", wait=away)
    assert errors.of(C1)[None].since == 150


def test_what_launches_nothing_more_is_forgotten() -> None:
    errors = StartErrors(clock=lambda: 0.0)
    errors.clear(C1, None)
    errors.record(C1, None, "a")
    errors.discard(C1)
    assert errors.of(C1) == {}
    errors.record(C1, None, "a")
    errors.discard_all(3)
    assert errors.of(C1) == {}
