"""What others have written, as people read it."""

from __future__ import annotations

import pytest

from headrace_backend_kubernetes.messages import one_line


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("0/3 nodes are available", "0/3 nodes are available"),
        ("failed to pull:\n\tno such\r\n host ", "failed to pull: no such host"),
        ("\x1b[2J\x1b]0;owned\x07 gone", "[2J ]0;owned gone"),
        ("a\u202egnp.exe\u2028b\x00c\x9bd", "a gnp.exe b c d"),
        ("天文学", "天文学"),
        ("x" * 1001, "x" * 997 + "..."),
    ],
)
def test_a_message_is_one_printable_line_of_bounded_length(message: str, line: str) -> None:
    assert one_line(message) == line
