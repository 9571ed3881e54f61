"""Logs stay within bounds, and neither writers nor readers notice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.backends.log_reading import everything, pieces_of, reader

from headrace_chassis import log_limit

MIB = 1024 * 1024


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "scheduler.log"
    path.write_bytes(b"".join(b"line %07d\n" % i for i in range(400_000)))
    return path


def test_a_log_within_bounds_is_left_alone(log: Path) -> None:
    before = log.read_bytes()
    log_limit.enforce(log)
    assert log.read_bytes() == before


def test_of_a_log_that_is_too_large_the_newest_part_is_kept(log: Path) -> None:
    log_limit.enforce(log, limit=4 * MIB, kept=2 * MIB)
    assert log.stat().st_blocks * 512 <= 4 * MIB
    lines = everything(reader(log))
    assert lines[-1] == b"line 0399999"
    assert 2 * MIB <= sum(len(line) + 1 for line in lines) <= 3 * MIB
    assert lines == [b"line %07d" % i for i in range(400_000 - len(lines), 400_000)]
    assert everything(reader(log, tail_lines=3)) == [b"line %07d" % i for i in range(399_997, 400_000)]


def test_writers_and_followers_do_not_notice(log: Path) -> None:
    following = reader(log, tail_lines=1)
    writing = os.open(log, os.O_WRONLY | os.O_APPEND)
    assert everything(following) == [b"line 0399999"]
    log_limit.enforce(log, limit=4 * MIB, kept=2 * MIB)
    os.write(writing, b"and on\n")
    os.close(writing)
    assert everything(following) == [b"and on"]


def test_reading_goes_on_after_a_position_whose_surroundings_were_dropped(log: Path) -> None:
    early, late = (pieces_of(reader(log))[n].position for n in (0, -2))
    log_limit.enforce(log, limit=4 * MIB, kept=2 * MIB)
    assert everything(reader(log, position=early)) == everything(reader(log))
    rest = everything(reader(log, position=late))
    assert rest[-1] == b"line 0399999"
    assert len(rest) < 10_000


def test_a_missing_log_is_left_alone(tmp_path: Path) -> None:
    log_limit.enforce(tmp_path / "gone")
    assert not (tmp_path / "gone").exists()
