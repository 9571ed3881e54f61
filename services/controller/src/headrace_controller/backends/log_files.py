"""Reads logs that lie in files: whole lines, in pieces, from where a reader stopped or from the last lines.

For backends that keep the output of each process in a file, which processes append to.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import zlib
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from pathlib import Path

from headrace_chassis import tenant_files
from headrace_controller.backends.base import LogPiece

PIECE = 64 * 1024
_PIECES_PER_READ = 16
_POLL_SECONDS = (0.05, 0.5)


class LogFiles:
    """Reads the logs of a cluster, or of one of its processes.

    Parameters
    ----------
    files
        Returns the files that exist now, by process.
    runs
        Whether a process runs: only then its last line may still get longer.
    tail_lines
        Number of lines before the end to start at, in logs that exist now and have no position. None means all.
    positions
        Positions of earlier pieces, by process.
    """

    def __init__(
        self,
        files: Callable[[], Mapping[str, Path]],
        runs: Callable[[str], bool],
        *,
        tail_lines: int | None = None,
        positions: Mapping[str, str] | None = None,
    ) -> None:
        self._list = files
        self._runs = runs
        self._tail_lines = tail_lines
        self._positions = positions or {}
        self._files: dict[str, _LogFile] = {}

    async def stream(
        self, *, follow: bool = False, next_change: Callable[[], asyncio.Event | None] = asyncio.Event
    ) -> AsyncIterator[LogPiece]:
        """Yields what there is to read; with `follow` goes on until `next_change` returns None.

        Files are read again after at most half a second, and earlier if the event of `next_change` is set.
        """
        pause, longest = _POLL_SECONDS
        while True:
            changed = next_change() if follow else None
            pieces = await asyncio.to_thread(self.read)
            for piece in pieces:
                yield piece
            if pieces:
                pause, _ = _POLL_SECONDS
                continue
            if changed is None:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), pause)
            pause = min(longest, pause * 1.5)

    def read(self) -> list[LogPiece]:
        """Returns what there is to read now, or a part of it; nothing when all was read."""
        pieces: list[LogPiece] = []
        for process, path in self._list().items():
            ended = not self._runs(process)  # asked before the log is read: its last lines are there then
            if (file := self._files.get(process)) is None:
                file = self._files[process] = _LogFile(path, process)
                file.seek(self._positions.get(process, ""), self._tail_lines)
            pieces += file.read(ended=ended)
        self._tail_lines = None  # logs that appear later are new from their start
        return pieces


class _LogFile:
    """One log, and how far it was read."""

    def __init__(self, path: Path, process: str) -> None:
        self._path = path
        self._process = process
        self._offset = 0

    def seek(self, position: str, tail_lines: int | None) -> None:
        """Goes to a position; without one to where the last lines start, or to the start."""
        with _opened(self._path) as descriptor:
            if descriptor is None:
                return
            if (parsed := _parse(position)) is not None:
                self._offset = parsed[0] if _is_same(descriptor, *parsed) else 0
            else:
                self._offset = 0 if tail_lines is None else _tail(descriptor, tail_lines)

    def read(self, *, ended: bool) -> Iterator[LogPiece]:
        """Yields some more pieces; a last line without its end only when the process has `ended`."""
        try:
            size = self._path.lstat().st_size
        except FileNotFoundError:
            return
        if size < self._offset:
            self._offset = 0  # it was emptied
        if size == self._offset:
            return
        with _opened(self._path) as descriptor:
            if descriptor is not None:
                yield from self._pieces(descriptor, ended=ended)

    def _pieces(self, descriptor: int, *, ended: bool) -> Iterator[LogPiece]:
        for _ in range(_PIECES_PER_READ):
            self._skip_hole(descriptor)
            data = os.pread(descriptor, PIECE, self._offset)
            if not (lines := data[: _end_of_lines(data, ended=ended)]):
                return
            self._offset += len(lines)
            yield LogPiece(self._process, lines, f"{self._offset}-{_checksum(descriptor, self._offset):x}")

    def _skip_hole(self, descriptor: int) -> None:
        """Goes on after what was dropped to keep the log within bounds."""
        start = _data_start(descriptor, self._offset)
        if start > self._offset:
            self._offset = start + os.pread(descriptor, PIECE, start).find(b"\n") + 1


@contextlib.contextmanager
def _opened(path: Path) -> Generator[int | None]:
    """Opens a log for reading; gives None if there is none, or something else in its place."""
    try:
        descriptor = tenant_files.open_file(path)
    except (FileNotFoundError, tenant_files.NotAsMade):
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


# A position is an offset with a checksum of the bytes before it: a log that was emptied or replaced since may have
# grown past the offset again.
_POSITION = re.compile(r"([0-9]{1,18})-([0-9a-f]{1,8})")
_CHECKED = 64


def _parse(position: str) -> tuple[int, int] | None:
    found = _POSITION.fullmatch(position)
    return (int(found[1]), int(found[2], 16)) if found else None


def _is_same(descriptor: int, offset: int, checksum: int) -> bool:
    """Whether a log is the one of a position, as far as is known: checked bytes may have been dropped since."""
    start = max(0, offset - _CHECKED)
    if offset > os.fstat(descriptor).st_size:
        return False
    return _data_start(descriptor, start) > start or _checksum(descriptor, offset) == checksum


def _checksum(descriptor: int, offset: int) -> int:
    start = max(0, offset - _CHECKED)
    return zlib.crc32(os.pread(descriptor, offset - start, start))


def _end_of_lines(data: bytes, *, ended: bool) -> int:
    """Returns the length of the part to hand on; the rest is read again with what follows."""
    newline = data.rfind(b"\n") + 1
    without_end = newline == 0 if len(data) == PIECE else ended
    return len(data) if without_end else newline


def _tail(descriptor: int, lines: int) -> int:
    """Returns the offset at which the last `lines` lines start."""
    size = os.fstat(descriptor).st_size
    if lines <= 0 or size == 0:
        return size
    start = _data_start(descriptor, 0)
    offset = size - (os.pread(descriptor, 1, size - 1) == b"\n")
    while offset > start:
        before = max(start, offset - PIECE)
        data = os.pread(descriptor, offset - before, before)
        newline = len(data)
        while (newline := data.rfind(b"\n", 0, newline)) >= 0:
            lines -= 1
            if lines == 0:
                return before + newline + 1
        offset = before
    return start


def _data_start(descriptor: int, offset: int) -> int:
    """Returns the offset of the first data at or after an offset."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError:  # at the end, or the file system knows no holes
        return offset
