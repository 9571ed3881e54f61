"""Reads the logs of a cluster: whole lines, in pieces, from the end backwards where a tail is asked for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace_backend_local import places
from headrace_controller.backends.base import LogPiece, ProcessKey

PIECE = 64 * 1024
_PIECES_A_ROUND = 16


class LogReader:
    """The logs of a cluster, or of one of its processes."""

    def __init__(
        self, directory: Path, cluster: str, process: str | None, tail_lines: int | None, runs: Callable[[str], bool]
    ) -> None:
        self._directory = directory
        self._cluster = cluster
        self._process = process
        self._tail_lines = tail_lines
        self._runs = runs
        self._files: dict[str, _LogFile] = {}

    def read(self) -> list[LogPiece]:
        """Returns what there is to read now, or a part of it; nothing when all was read."""
        pieces: list[LogPiece] = []
        for name in self._names():
            ended = not self._runs(name)  # before it is read: what it wrote last is there then
            if (file := self._files.get(name)) is None:
                path = places.log_file(self._directory, ProcessKey(self._cluster, name))
                file = self._files[name] = _LogFile(path, name)
                file.go_back(self._tail_lines)
            pieces += file.read(ended=ended)
        self._tail_lines = None  # of logs that appear later everything is new
        return pieces

    def _names(self) -> list[str]:
        if self._process is not None:
            return [self._process]
        return sorted(p.stem for p in places.log_directory(self._directory, self._cluster).glob("*.log"))


@dataclass(slots=True)
class _LogFile:
    """One log, and how far it has been read."""

    path: Path
    process: str
    position: int = 0

    def go_back(self, lines: int | None) -> None:
        """Goes to where the last `lines` lines begin; to the beginning with None."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb", buffering=0) as file:
            self.position = 0 if lines is None else _tail(file.fileno(), lines)

    def read(self, *, ended: bool) -> Iterator[LogPiece]:
        """Yields some more pieces; the last line only when it is whole, or the process has `ended`."""
        with contextlib.suppress(FileNotFoundError):
            size = self.path.stat().st_size
            if size < self.position:
                self.position = 0  # it was emptied: the file system knows no holes
            if size == self.position:
                return
            with self.path.open("rb", buffering=0) as file:
                yield from self._pieces(file.fileno(), ended=ended)

    def _pieces(self, descriptor: int, *, ended: bool) -> Iterator[LogPiece]:
        for _ in range(_PIECES_A_ROUND):
            self._skip_hole(descriptor)
            data = os.pread(descriptor, PIECE, self.position)
            if not (lines := data[: _end_of_lines(data, ended=ended)]):
                return
            self.position += len(lines)
            yield LogPiece(self.process, lines)

    def _skip_hole(self, descriptor: int) -> None:
        """Goes on behind what was dropped to keep the log within bounds."""
        start = _data_start(descriptor, self.position)
        if start > self.position:
            self.position = start + os.pread(descriptor, PIECE, start).find(b"\n") + 1


def _end_of_lines(data: bytes, *, ended: bool) -> int:
    """Returns how much of a piece can be handed on; what is left is read again with what follows."""
    newline = data.rfind(b"\n") + 1
    without_end = newline == 0 if len(data) == PIECE else ended
    return len(data) if without_end else newline


def _tail(descriptor: int, lines: int) -> int:
    """Returns where the last `lines` lines begin."""
    size = os.fstat(descriptor).st_size
    if lines <= 0 or size == 0:
        return size
    start = _data_start(descriptor, 0)
    position = size - (os.pread(descriptor, 1, size - 1) == b"\n")
    while position > start:
        begin = max(start, position - PIECE)
        data = os.pread(descriptor, position - begin, begin)
        newline = len(data)
        while (newline := data.rfind(b"\n", 0, newline)) >= 0:
            lines -= 1
            if lines == 0:
                return begin + newline + 1
        position = begin
    return start


def _data_start(descriptor: int, position: int) -> int:
    """Returns where the first data at or behind a position is."""
    try:
        return os.lseek(descriptor, position, os.SEEK_DATA)
    except OSError:  # at the end, or the file system knows no holes
        return position
