"""Numbers of bytes as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import QuotaExceeded
from headrace.option_types import Bytes, parse_bytes
from headrace.sizes import describe_bytes, describe_quantity, format_bytes


@pytest.mark.parametrize(
    "text",
    ["0 bytes", "1 bytes", "1500 bytes", "2 GiB", "1536 MiB", "4 GB", "100 kB", "1 TB", "1 PiB", "4711 PB"],
)
def test_what_a_person_wrote_is_written_back(text: str) -> None:
    assert format_bytes(parse_bytes(text)) == describe_bytes(parse_bytes(text)) == text


@given(st.integers(0, 2**62))
def test_text_is_exact_and_can_be_read_again(number: int) -> None:
    assert Bytes().check(format_bytes(number)) == number


@pytest.mark.parametrize(
    ("number", "text"),
    [(1_999_999_999, "1.863 GiB"), (3_945_123_841, "3.674 GiB"), (2**50 + 1, "1 PiB"), (99_999, "97.66 KiB")],
)
def test_what_nobody_wrote_is_rounded(number: int, text: str) -> None:
    assert describe_bytes(number) == text


@pytest.mark.parametrize(
    ("resource", "amount", "text"),
    [
        ("clusters", 1, "1 cluster"),
        ("clusters", 0, "0 clusters"),
        ("workers", 1, "1 worker"),
        ("cores", 0.5, "0.5 cores"),
        ("gpus", 2, "2 GPUs"),
        ("queued", 1, "1 cluster in the queue"),
        ("memory_bytes", 2**30, "1 GiB of memory"),
        ("licences", 3, "3 of licences"),
    ],
)
def test_an_amount_has_its_noun(resource: str, amount: float, text: str) -> None:
    assert describe_quantity(resource, amount) == text


def test_a_limit_of_memory_is_told_with_units() -> None:
    error = QuotaExceeded.of(subject="users/ann", what="memory_bytes", limit=2**34, used=2**33, asked=3 * 2**32)
    assert str(error).startswith("users/ann may have 16 GiB of memory, has 8 GiB and asked for 12 GiB more; ")
    assert error.details["limit"] == str(2**34)
    error = QuotaExceeded.of(subject="users/ann", what="workers", limit=4, used=4, asked=1)
    assert str(error) == "users/ann may have 4 workers, has 4 and asked for 1 more; stop something first"
