"""No stop is asked for twice at the same time."""

from __future__ import annotations

from headrace_controller.model import ClusterId
from headrace_controller.reconciling.stops_under_way import StopsUnderWay

C1, C2 = ClusterId("c1"), ClusterId("c2")


def test_processes_are_claimed_once_until_they_are_released() -> None:
    stops = StopsUnderWay()
    first = stops.claim(C1, ["a", "b"])
    assert first == {"a", "b"}
    assert stops.claim(C1, ["b", "c"]) == {"c"}
    assert stops.claim(C2, ["b"]) == {"b"}
    stops.release(C1, first)
    assert stops.claim(C1, ["a", "c"]) == {"a"}


def test_while_all_are_stopped_nothing_else_is() -> None:
    stops = StopsUnderWay()
    some = stops.claim(C1, ["a"])
    everything = stops.claim(C1, None)
    assert everything
    assert not stops.claim(C1, ["b"])
    assert not stops.claim(C1, None)
    stops.release(C1, some)
    stops.release(C1, everything)
    assert stops.claim(C1, ["b"])
