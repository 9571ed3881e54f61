"""The rate of requests that change something."""

from __future__ import annotations

from headrace_backend_kubernetes.pace import Pace


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    now = 100.0
    pace = Pace(10, 3, clock=lambda: now)
    assert [round(pace.wait_seconds(), 3) for _ in range(6)] == [0, 0, 0, 0.1, 0.2, 0.3]
    now += 0.4
    assert round(pace.wait_seconds(), 3) == 0
    now += 1000  # a quiet time saves no more than a burst
    assert [round(pace.wait_seconds(), 3) for _ in range(4)] == [0, 0, 0, 0.1]
