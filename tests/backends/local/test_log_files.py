"""Logs stay within bounds while they are written and read, and reading goes on after a position."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace_backend_local import paths
from headrace_backend_local.log_reader import LogReader
from headrace_backend_local.zygote import log_limit
from headrace_controller.backends.base import LogPiece
from headrace_controller.backends.process import ProcessKey

MIB = 1024 * 1024


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = paths.log_file(tmp_path, ProcessKey("c1", "scheduler"))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join(b"line %07d\n" % i for i in range(400_000)))
    return path


def reader(tmp_path: Path, tail_lines: int | None = None, position: str = "") -> LogReader:
    positions = {"scheduler": position} if position else {}
    return LogReader(tmp_path, "c1", None, tail_lines=tail_lines, positions=positions, runs=lambda _process: True)


def all_pieces(reader: LogReader) -> list[LogPiece]:
    found: list[LogPiece] = []
    while pieces := reader.read():
        found += pieces
    return found


def everything(reader: LogReader) -> list[bytes]:
    return b"".join(piece.lines for piece in all_pieces(reader)).splitlines()


def test_a_log_within_bounds_is_left_alone(log: Path) -> None:
    before = log.read_bytes()
    log_limit.enforce(str(log))
    assert log.read_bytes() == before


def test_of_a_log_that_is_too_large_the_newest_part_is_kept(log: Path, tmp_path: Path) -> None:
    log_limit.enforce(str(log), limit=4 * MIB, kept=2 * MIB)
    assert log.stat().st_blocks * 512 <= 4 * MIB
    lines = everything(reader(tmp_path))
    assert lines[-1] == b"line 0399999"
    assert 2 * MIB <= sum(len(line) + 1 for line in lines) <= 3 * MIB
    assert lines == [b"line %07d" % i for i in range(400_000 - len(lines), 400_000)]
    assert everything(reader(tmp_path, tail_lines=3)) == [b"line %07d" % i for i in range(399_997, 400_000)]


def test_writers_and_followers_do_not_notice(log: Path, tmp_path: Path) -> None:
    following = reader(tmp_path, tail_lines=1)
    writing = os.open(log, os.O_WRONLY | os.O_APPEND)
    assert everything(following) == [b"line 0399999"]
    log_limit.enforce(str(log), limit=4 * MIB, kept=2 * MIB)
    os.write(writing, b"and on\n")
    os.close(writing)
    assert everything(following) == [b"and on"]


def test_a_log_that_was_emptied_is_read_from_its_beginning(log: Path, tmp_path: Path) -> None:
    following = reader(tmp_path)
    everything(following)
    log.write_bytes(b"again\n")
    assert everything(following) == [b"again"]


def test_a_missing_log_is_empty(tmp_path: Path) -> None:
    log_limit.enforce(str(tmp_path / "gone"))
    assert everything(reader(tmp_path)) == []


def test_a_line_without_end_is_read_in_parts(tmp_path: Path, log: Path) -> None:
    log.write_bytes(b"x" * 200_000)
    pieces = reader(tmp_path).read()
    assert [len(piece.lines) for piece in pieces] == [65536, 65536, 65536]


def test_reading_goes_on_after_a_position_whose_surroundings_were_dropped(log: Path, tmp_path: Path) -> None:
    early, late = (all_pieces(reader(tmp_path))[n].position for n in (0, -2))
    log_limit.enforce(str(log), limit=4 * MIB, kept=2 * MIB)
    assert everything(reader(tmp_path, position=early)) == everything(reader(tmp_path))
    rest = everything(reader(tmp_path, position=late))
    assert rest[-1] == b"line 0399999"
    assert len(rest) < 10_000


def test_a_log_that_was_emptied_after_a_position_is_read_from_its_start(log: Path, tmp_path: Path) -> None:
    position = all_pieces(reader(tmp_path))[0].position
    log.write_bytes(b"short\n")
    assert everything(reader(tmp_path, position=position)) == [b"short"]


def test_a_log_that_has_grown_past_a_position_again_is_read_from_its_start(log: Path, tmp_path: Path) -> None:
    position = all_pieces(reader(tmp_path))[0].position
    replaced = log.with_name("other")
    replaced.write_bytes(b"".join(b"other %07d\n" % i for i in range(400_000)))
    replaced.replace(log)
    assert everything(reader(tmp_path, tail_lines=1, position=position))[0] == b"other 0000000"


def test_reading_goes_on_with_what_was_written_since(log: Path, tmp_path: Path) -> None:
    log.write_bytes(b"first\n")
    [piece] = all_pieces(reader(tmp_path))
    assert everything(reader(tmp_path, position=piece.position)) == []
    with log.open("ab") as file:
        file.write(b"second\n")
    assert everything(reader(tmp_path, position=piece.position)) == [b"second"]
