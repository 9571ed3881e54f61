"""Logs in files are read in pieces, and on after a position, whatever has happened to the file meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.backends.log_reading import everything, pieces_of, reader

from headrace_controller.backends.log_files import PIECE


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "scheduler.log"
    path.write_bytes(b"".join(b"line %07d\n" % i for i in range(40_000)))
    return path


def test_a_log_that_was_emptied_is_read_from_its_start(log: Path) -> None:
    following = reader(log)
    everything(following)
    log.write_bytes(b"again\n")
    assert everything(following) == [b"again"]


def test_a_log_that_was_emptied_after_a_position_is_read_from_its_start(log: Path) -> None:
    position = pieces_of(reader(log))[0].position
    log.write_bytes(b"short\n")
    assert everything(reader(log, position=position)) == [b"short"]


def test_a_log_that_has_grown_past_a_position_again_is_read_from_its_start(log: Path) -> None:
    position = pieces_of(reader(log))[0].position
    replaced = log.with_name("other")
    replaced.write_bytes(b"".join(b"other %07d\n" % i for i in range(40_000)))
    replaced.replace(log)
    assert everything(reader(log, tail_lines=1, position=position))[0] == b"other 0000000"


def test_reading_goes_on_with_what_was_written_since(log: Path) -> None:
    log.write_bytes(b"first\n")
    [piece] = pieces_of(reader(log))
    assert everything(reader(log, position=piece.position)) == []
    with log.open("ab") as file:
        file.write(b"second\n")
    assert everything(reader(log, position=piece.position)) == [b"second"]


def test_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert everything(reader(tmp_path / "gone")) == []
    assert everything(reader(tmp_path / "gone", tail_lines=3)) == []


def test_a_line_without_end_is_read_in_parts(log: Path) -> None:
    log.write_bytes(b"x" * (3 * PIECE + 1))
    assert [len(piece.lines) for piece in reader(log).read()] == [PIECE] * 3


def test_a_last_line_without_end_is_read_when_its_process_has_exited(log: Path) -> None:
    log.write_bytes(b"one\ntwo")
    assert everything(reader(log)) == [b"one"]
    assert everything(reader(log, runs=False)) == [b"one", b"two"]


@pytest.mark.parametrize("lines", [1, 5000, 39_999, 40_000, 50_000])
def test_the_last_lines_are_found_over_several_pieces(log: Path, lines: int) -> None:
    found = everything(reader(log, tail_lines=lines))
    assert found == [b"line %07d" % i for i in range(40_000 - min(lines, 40_000), 40_000)]
