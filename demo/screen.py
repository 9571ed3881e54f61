"""What the demo prints: steps, tables and bars; in colour on a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager

COLOURED = sys.stdout.isatty() and "NO_COLOR" not in os.environ
BAR_WIDTH = 44
EIGHTHS = " ▏▎▍▌▋▊▉"


def show(text: str = "") -> None:
    """Print a line at once."""
    print(text, flush=True)


@contextmanager
def step(title: str, explanation: str) -> Generator[None]:
    """Print what a step does, why, and how long it took."""
    show(f"\n{_bold(title)}")
    show(_dim(explanation))
    started = time.perf_counter()
    yield
    show(_dim(f"({time.perf_counter() - started:.2f} s)"))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: first column aligned left, the others right."""
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    for position, line in enumerate(lines):
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        text = "   " + "   ".join(cells)
        show(_bold(text) if position == 0 else text)


def show_bars(values: Iterable[tuple[str, float]], unit: str) -> None:
    """Print one bar for each value."""
    pairs = list(values)
    largest = max((value for _, value in pairs), default=1.0) or 1.0
    for label, value in pairs:
        show(f"   {label}  {_green(_bar(max(value, 0.0) / largest))} {value:.1f} {unit}")


def _bar(share: float) -> str:
    eighths = round(share * BAR_WIDTH * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if COLOURED else text


def _dim(text: str) -> str:
    return f"\x1b[2m{text}\x1b[0m" if COLOURED else text


def _green(text: str) -> str:
    return f"\x1b[32m{text}\x1b[0m" if COLOURED else text
