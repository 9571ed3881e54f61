"""How the demo looks: steps, tables and bars, with colour on a terminal only."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager

COLOURED = sys.stdout.isatty() and "NO_COLOR" not in os.environ
BAR_WIDTH = 44
EIGHTHS = " ▏▎▍▌▋▊▉"


def say(text: str = "") -> None:
    """Prints a line at once."""
    print(text, flush=True)


@contextmanager
def step(title: str, explanation: str) -> Generator[None]:
    """Frames a step: what happens, why, and how long it took."""
    say(f"\n{_bold(title)}")
    say(_dim(explanation))
    started = time.perf_counter()
    yield
    say(_dim(f"({time.perf_counter() - started:.2f} s)"))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table: first column to the left, the others to the right."""
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    for position, line in enumerate(lines):
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        text = "   " + "   ".join(cells)
        say(_bold(text) if position == 0 else text)


def show_bars(values: Iterable[tuple[str, float]], unit: str) -> None:
    """Prints one bar for each value."""
    pairs = list(values)
    largest = max((value for _, value in pairs), default=1.0) or 1.0
    for label, value in pairs:
        say(f"   {label}  {_green(_bar(max(value, 0.0) / largest))} {value:.1f} {unit}")


def _bar(share: float) -> str:
    eighths = round(share * BAR_WIDTH * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if COLOURED else text


def _dim(text: str) -> str:
    return f"\x1b[2m{text}\x1b[0m" if COLOURED else text


def _green(text: str) -> str:
    return f"\x1b[32m{text}\x1b[0m" if COLOURED else text
