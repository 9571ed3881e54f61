"""Delays between tries: growing, bounded, and different for everybody."""

from __future__ import annotations

import random
from collections.abc import Iterator


def delays(first: float = 0.05, most: float = 2.0) -> Iterator[float]:
    """Yields seconds for ever, each between half and the whole of a bound that doubles from `first` to `most`."""
    bound = first
    while True:
        yield bound * random.uniform(0.5, 1.0)  # noqa: S311 spreads load, hides nothing
        bound = min(most, bound * 2)
