"""Delays between retries."""

from __future__ import annotations

import random
from collections.abc import Iterator


def delays(first: float = 0.1, longest: float = 2.0, factor: float = 2.0) -> Iterator[float]:
    """Yield delays in seconds without end.

    Each is between half and the whole of a bound that grows from `first` to `longest`. The random part keeps many
    callers from retrying at the same moment.
    """
    bound = first
    while True:
        yield bound * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
        bound = min(longest, bound * factor)
