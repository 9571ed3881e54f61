"""Parts of sentences."""

from __future__ import annotations

import pytest

from headrace_controller.plan.sentences import count, describe_exit_code, duration, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "0.5 s"),
        (30, "30 s"),
        (60, "1 min"),
        (90.4, "1 min 30 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (86399, "24 h"),
        (86400, "1 d"),
        (129600, "1 d 12 h"),
    ],
)
def test_durations_have_at_most_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1 << 10, "1 KiB"),
        (400 << 20, "400 MiB"),
        (2_000_000_000, "1.863 GiB"),
        (1 << 62, "4096 PiB"),
    ],
)
def test_sizes_are_rounded(number: int, text: str) -> None:
    assert size(number) == text


def test_an_exit_that_containers_and_shells_report_for_a_kill_says_so() -> None:
    kill = "ended with exit code 137, as after signal 9 (SIGKILL): perhaps by the kernel, because memory ran out"
    assert describe_exit_code(137) == kill


def test_one_thing_is_singular() -> None:
    assert [count(n, "worker") for n in (0, 1, 2)] == ["0 workers", "1 worker", "2 workers"]
