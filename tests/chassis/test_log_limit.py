from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace_chassis import log_limit

MIB = 1024 * 1024


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "envoy.log"
    path.write_bytes(b"a line\n" * MIB)
    return path


def test_a_log_is_limited_while_it_is_written_and_nothing_is_copied(log: Path):
    writer = os.open(log, os.O_WRONLY | os.O_APPEND)
    log_limit.enforce(log, limit=4 * MIB, kept=2 * MIB)
    os.write(writer, b"the last line\n")
    os.close(writer)
    assert log.stat().st_blocks * 512 <= 4 * MIB
    assert log.read_bytes().endswith(b"a line\nthe last line\n")
    assert list(log.parent.iterdir()) == [log]


def test_what_stands_in_the_place_of_a_log_is_left_alone(tmp_path: Path, log: Path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(log)
    before = log.stat().st_blocks
    for path in (pipe, link, tmp_path, tmp_path / "missing"):
        log_limit.enforce(path, limit=0, kept=0)
    assert log.stat().st_blocks == before
