"""Adaptive scaling: from what the work is worth to a size for each group. Pure: tables test it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SAMPLES = 3


@dataclass(frozen=True, slots=True)
class Range:
    """A group that adaptive scaling looks after."""

    group: str
    minimum: int
    maximum: int

    def clamp(self, size: int) -> int:
        return max(self.minimum, min(self.maximum, size))


def divide(wanted: int, ranges: Iterable[Range], running: Mapping[str, int]) -> dict[str, int]:
    """Divides workers over groups: what groups of fixed size run counts first, then each group is filled in turn."""
    ranges = list(ranges)
    adaptive = {r.group for r in ranges}
    left = wanted - sum(count for group, count in running.items() if group not in adaptive)
    sizes: dict[str, int] = {}
    for r in ranges:
        sizes[r.group] = r.clamp(left)
        left -= sizes[r.group]
    return sizes


class Steadied:
    """Follows a wish upwards at once, and downwards only when it has been low for some samples."""

    def __init__(self, samples: int = SAMPLES) -> None:
        self._samples: deque[int] = deque(maxlen=max(1, samples))

    def look(self, size: int) -> int:
        """Takes one of the regular samples and returns the size to have."""
        self._samples.append(size)
        return max(self._samples)

    def raise_to(self, size: int) -> int:
        """Takes a look between the regular ones: it may raise the size, and counts as no sample of its own."""
        if not self._samples:
            self._samples.append(size)
        elif size > self._samples[-1]:
            self._samples[-1] = size
        return max(self._samples)
