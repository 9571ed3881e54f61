"""What `headrace up` prints: one line each."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO


class Console:
    """Prints lines for a person; is silent once the terminal is gone."""

    def __init__(
        self, *, quiet: bool = False, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._quiet = quiet
        self._out = out or sys.stdout
        self._clock = clock
        self._started = clock()

    def info(self, line: str = "") -> None:
        """Print something that is good to know; nothing if quiet."""
        if not self._quiet:
            self._write(line)

    def ready(self, name: str) -> None:
        """Print that a part is ready, and the time since the start."""
        self.info(f"  {name:<11} ready after {self.elapsed():5.2f} s")

    def warn(self, line: str) -> None:
        """Print what went wrong, with the time of day; also if quiet."""
        self._write(f"{time.strftime('%H:%M:%S')} {line}")

    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    def _write(self, line: str) -> None:
        try:
            print(line, file=self._out, flush=True)
        except (OSError, ValueError):
            self._quiet = True
