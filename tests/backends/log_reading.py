"""Readers of the log of one process, and all that one reads."""

from __future__ import annotations

from pathlib import Path

from headrace_controller.backends.base import LogPiece
from headrace_controller.backends.log_files import LogFiles

PROCESS = "scheduler"


def reader(log: Path, *, tail_lines: int | None = None, position: str = "", runs: bool = True) -> LogFiles:
    positions = {PROCESS: position} if position else {}
    return LogFiles(lambda: {PROCESS: log}, lambda _process: runs, tail_lines=tail_lines, positions=positions)


def pieces_of(reader: LogFiles) -> list[LogPiece]:
    found: list[LogPiece] = []
    while pieces := reader.read():
        found += pieces
    return found


def everything(reader: LogFiles) -> list[bytes]:
    return b"".join(piece.lines for piece in pieces_of(reader)).splitlines()
