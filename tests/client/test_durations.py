"""Lengths of time as people write them."""

from __future__ import annotations

import pytest

from headrace.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0", 0),
        (" 2 h ", 7200),
        ("2h", 7200),
        ("1.5 hours", 5400),
        ("1h30m", 5400),
        ("1 h 30 min", 5400),
        ("2 D", 172800),
        ("1 week", 604800),
        ("300ms", 0.3),
        (".5 s", 0.5),
    ],
)
def test_lengths_of_time_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", " ", "h", "-1 s", "1 year", "1 h 30", "2 h later", "1e3", "٣ h", "1 s" * 30])
def test_what_is_no_length_of_time_is_none(text: str) -> None:
    assert parse_duration(text) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (7200, "2 h"), (5400.0, "90 min"), (86400, "1 d"), (90, "90 s"), (0.5, "0.5 s"), (-60, "-1 min")],
)
def test_they_are_written_exactly(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
