"""Logs as Kubernetes sends them, cut into pieces, and read again from any of them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.backends.kubernetes.pods import decoded, recorded

from headrace_backend_kubernetes.log_stream import PIECE, Pieces, Position
from headrace_controller.backends.base import LogPiece

POD = decoded(recorded("runs"))
OTHER = decoded(recorded("exit-3"))


def _log(*lines: tuple[str, str]) -> bytes:
    return "".join(f"2026-11-26T15:04:26.{at}Z {text}" for at, text in lines).encode()


def _read(log: bytes, after: Position | None = None, chunk: int = 1000) -> list[LogPiece]:
    pieces = Pieces("w1", POD, after)
    read = [piece for i in range(0, len(log), chunk) for piece in pieces.add(log[i : i + chunk])]
    return read + pieces.end()


def _text(pieces: list[LogPiece]) -> str:
    return b"".join(piece.lines for piece in pieces).decode()


def test_lines_lose_their_times() -> None:
    log = _log(("1", "one\n"), ("2", "\n"), ("25", "three\n"), ("3", "no end"))
    assert _text(_read(log)) == "one\n\nthree\nno end"
    assert _text(_read(log, chunk=3)) == "one\n\nthree\nno end"


# Times as nodes write them: growing, without trailing zeros, and some of them the same.
times = st.lists(st.integers(0, 20), min_size=1, max_size=40).map(
    lambda found: [f"{at:09}".rstrip("0") or "0" for at in sorted(found)]
)


@given(times, st.integers(1, 200))
def test_reading_goes_on_after_any_piece(at: list[str], chunk: int) -> None:
    log = _log(*((time, f"line {n}\n") for n, time in enumerate(at)))
    read = _read(log, chunk=chunk)
    for n, piece in enumerate(read):
        position = Position.parse(piece.position, POD)
        assert position
        assert _text(_read(log, position)) == _text(read[n + 1 :])


def test_pieces_are_bounded_and_a_long_line_is_read_again_rather_than_lost() -> None:
    long = "x" * (3 * PIECE)
    log = _log(("1", "short\n"), ("2", f"{long}\n"), ("3", "last\n"))
    read = _read(log, chunk=10_000)
    assert max(len(piece.lines) for piece in read) <= PIECE
    assert _text(read) == f"short\n{long}\nlast\n"
    [within] = [piece for piece in read if piece.lines.startswith(b"x")][:1]
    assert _text(_read(log, Position.parse(within.position, POD))).startswith(long)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "../../etc",
        "\0",
        "9" * 100,
        f"2026-13-45T99:04:26.1Z/1/{POD.uid}",
        f"2026-11-26T15:04:26.1Z/0x1/{POD.uid}",
    ],
)
def test_what_is_no_position_counts_as_none(text: str) -> None:
    assert Position.parse(text, POD) is None


def test_a_position_is_good_for_its_own_pod_only() -> None:
    [piece] = _read(_log(("1", "one\n")))
    assert Position.parse(piece.position, POD)
    assert Position.parse(piece.position, OTHER) is None


def test_a_clock_that_goes_wrong_loses_no_lines() -> None:
    position = Position("2026-11-26T15:04:26.1Z", 1, POD.uid)
    written = 1_795_705_466.0
    for fast in (-3600, 0, 3600):  # by as much as nodes may differ
        assert position.since_seconds(written + 10 - fast) >= 10
    assert position.since_seconds(written - 10_000) >= 1  # a node far in the future
    assert position.since_seconds(time.time()) >= 1
