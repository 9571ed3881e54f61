"""Reads the log of a pod, from where a reader stopped or from the last lines.

Kubernetes knows no offsets in logs, and drops the oldest lines of long ones. So a position is the time of a line and
the number of lines with this time up to it; reading goes on from shortly before that time.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace_backend_kubernetes.objects import Pod
from headrace_controller.backends.base import LogPiece

PIECE = 64 * 1024
_CLOCK_SKEW_SECONDS = 3600  # by which the clock of a node may be fast
_POSITION = re.compile(r"([0-9TZ:.+-]{20,40})/([0-9]{1,9})/([0-9a-f-]{1,36})")
_TIME = re.compile(rb"[0-9]{4}-[0-9TZ:.+-]{10,35} ")


@dataclass(frozen=True, slots=True)
class Position:
    """A line of a log: its time, and its number among those of the same time, from 1."""

    time: str
    count: int
    pod: str

    @classmethod
    def parse(cls, text: str, pod: Pod) -> Position | None:
        """Reads a position; None unless it is one of this very pod's log."""
        found = _POSITION.fullmatch(text)
        if not found or found[3] != pod.uid or _seconds(found[1]) is None:
            return None
        return cls(found[1], int(found[2]), found[3])

    def __str__(self) -> str:
        return f"{self.time}/{self.count}/{self.pod}"

    def since_seconds(self, now: float) -> int:
        """How far back to read by the clock of its node, so that this line is read again."""
        return max(1, int(now - (_seconds(self.time) or 0)) + _CLOCK_SKEW_SECONDS)


class Pieces:
    """Turns lines with their times into pieces of bounded size, from after a position on."""

    def __init__(self, process: str, pod: Pod, after: Position | None) -> None:
        self._process = process
        self._after = after
        self._at = Position("", 0, pod.uid)  # of the line that was read last
        self._done = self._at  # of the last line that was collected wholly
        self._collected: list[bytes] = []
        self._size = 0
        self._rest = b""

    def add(self, chunk: bytes) -> list[LogPiece]:
        """Accepts a part of the log; returns what is complete."""
        pieces: list[LogPiece] = []
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            pieces += self._add_line(line + b"\n")
        if len(self._rest) > 2 * PIECE:  # a line that does not end
            pieces += self._add_line(self._rest)
            self._rest = b""
        return pieces + self._flush()

    def end(self) -> list[LogPiece]:
        """Returns what is left: a last line that has no end."""
        pieces = self._add_line(self._rest) if self._rest else []
        self._rest = b""
        return pieces + self._flush()

    def _flush(self) -> list[LogPiece]:
        if not self._collected:
            return []
        piece = LogPiece(self._process, b"".join(self._collected), str(self._done) if self._done.time else "")
        self._collected, self._size = [], 0
        return [piece]

    def _add_line(self, line: bytes) -> list[LogPiece]:
        text = self._without_time(line)
        if self._is_old():
            return []
        pieces: list[LogPiece] = []
        for first in range(0, len(text), PIECE):
            part = text[first : first + PIECE]
            if self._size + len(part) > PIECE:
                pieces += self._flush()
            self._collected.append(part)
            self._size += len(part)
        self._done = self._at
        return pieces

    def _without_time(self, line: bytes) -> bytes:
        found = _TIME.match(line)
        if not found:
            return line  # goes on with a line that did not end
        time = found[0][:-1].decode()
        self._at = Position(time, self._at.count + 1 if time == self._at.time else 1, self._at.pod)
        return line[found.end() :]

    def _is_old(self) -> bool:
        """Whether a line was read before. Times of one node grow, and are spelled alike but for trailing zeros."""
        if self._after is None:
            return False
        at, after = _sortable(self._at.time), _sortable(self._after.time)
        return at < after or (at == after and self._at.count <= self._after.count)


async def pieces(
    process: str, pod: Pod, chunks: AsyncIterator[bytes], after: Position | None
) -> AsyncIterator[LogPiece]:
    """Yields the pieces of a log that is read."""
    collected = Pieces(process, pod, after)
    async for chunk in chunks:
        for piece in collected.add(chunk):
            yield piece
    for piece in collected.end():
        yield piece


def _sortable(time: str) -> tuple[str, str]:
    """RFC 3339 in UTC leaves out trailing zeros of the fraction."""
    whole, _, fraction = time.removesuffix("Z").partition(".")
    return whole, fraction.ljust(9, "0")


def _seconds(time: str) -> float | None:
    whole, _ = _sortable(time)
    try:
        return datetime.fromisoformat(whole[:19]).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
