"""Logs stay within bounds while they are written and read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace_backend_local import places
from headrace_backend_local.log_reader import LogReader
from headrace_backend_local.zygote import log_limit
from headrace_controller.backends.base import ProcessKey

MIB = 1024 * 1024


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = places.log_file(tmp_path, ProcessKey("c1", "scheduler"))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"".join(b"line %07d\n" % i for i in range(400_000)))
    return path


def reader(tmp_path: Path, tail_lines: int | None = None) -> LogReader:
    return LogReader(tmp_path, "c1", None, tail_lines, lambda _process: True)


def everything(reader: LogReader) -> list[bytes]:
    found: list[bytes] = []
    while pieces := reader.read():
        found += [piece.lines for piece in pieces]
    return b"".join(found).splitlines()


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


def test_who_writes_and_who_follows_do_not_notice(log: Path, tmp_path: Path) -> None:
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
    log.write_bytes(b"anew\n")
    assert everything(following) == [b"anew"]


def test_a_log_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    log_limit.enforce(str(tmp_path / "gone"))
    assert everything(reader(tmp_path)) == []


def test_a_line_without_end_is_handed_on_in_parts(tmp_path: Path, log: Path) -> None:
    log.write_bytes(b"x" * 200_000)
    pieces = reader(tmp_path).read()
    assert [len(piece.lines) for piece in pieces] == [65536, 65536, 65536]
