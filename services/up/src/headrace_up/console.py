"""What `headrace up` says: one line each."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO


class Console:
    """Writes lines for a person; goes on silently when the terminal has gone."""

    def __init__(
        self, *, quiet: bool = False, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._quiet = quiet
        self._out = out or sys.stdout
        self._clock = clock
        self._started = clock()

    def say(self, line: str = "") -> None:
        """Says what is good to know."""
        if not self._quiet:
            self._write(line)

    def ready(self, name: str, since: float) -> None:
        """Says that a part is ready."""
        self.say(f"  {name:<11} ready  {self._clock() - since:5.2f} s")

    def warn(self, line: str) -> None:
        """Says what went wrong, with the time of day; also when quiet."""
        self._write(f"{time.strftime('%H:%M:%S')} {line}")

    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    def _write(self, line: str) -> None:
        try:
            print(line, file=self._out, flush=True)
        except (OSError, ValueError):
            self._quiet = True
