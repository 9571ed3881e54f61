"""Numbers of a scheduler's page, by name, become a sample; what cannot be true becomes none."""

from __future__ import annotations

import math
from collections.abc import Mapping

from headrace_controller.signals.measured import Measured

PREFIX = "headrace_scheduler_"
_COUNTS = ("clients", "queued_tasks", "processing_tasks", "held_tasks", "held_bytes", "spilled_bytes", "workers")
_IDLE, _INACTIVE, _MEMORY, _CORES, _CORE_SECONDS, _BYTE_SECONDS = (
    "idle_seconds",
    "inactive_seconds",
    "worker_memory_bytes",
    "worker_cores",
    "worker_core_seconds_total",
    "worker_memory_byte_seconds_total",
)
NAMES = frozenset({*_COUNTS, _IDLE, _INACTIVE, _MEMORY, _CORES, _CORE_SECONDS, _BYTE_SECONDS})
_WHOLE = (*_COUNTS, _MEMORY)
_PREFIX = PREFIX.encode()
_NAMES = {_PREFIX + name.encode(): name for name in NAMES}  # as a page has them
_MOST, _MOST_WHOLE = 2.0**80, 2.0**53  # whole numbers stay exact, and fit where they are kept for other replicas
# Clocks of two machines may differ by this much.
_SKEW_SECONDS = 60.0


def read(values: Mapping[str, float], *, time: float, created: float) -> Measured | None:
    """Return the sample of a cluster; None if a number is missing, is no amount, or says more than its life allows.

    Parameters
    ----------
    values
        By the name of their metric, without its prefix.
    created
        Time at which the cluster was created: it cannot be idle for longer.
    """
    try:
        numbers = {name: values[name] for name in NAMES}
    except KeyError:
        return None
    amounts = numbers.values()
    if not (math.isfinite(sum(amounts)) and min(amounts) >= 0 and max(amounts) < _MOST):  # a NaN makes the sum one
        return None
    if max(numbers[name] for name in _WHOLE) > _MOST_WHOLE:
        return None
    idle, inactive = numbers[_IDLE], numbers[_INACTIVE]
    if max(idle, inactive) > time - created + _SKEW_SECONDS:
        return None
    return Measured(
        time=time,
        idle_since=time - idle if idle else None,
        active=time - inactive,
        **{name: int(numbers[name]) for name in _COUNTS},
        memory_bytes=int(numbers[_MEMORY]),
        cores=numbers[_CORES],
        core_seconds=numbers[_CORE_SECONDS],
        memory_byte_seconds=numbers[_BYTE_SECONDS],
    )


def parse_page(page: bytes) -> Mapping[str, float]:
    """Return the numbers of a scheduler's page; raise ValueError if it was cut off."""
    if not page.endswith(b"# EOF\n"):
        raise ValueError("the page has no end")
    values: dict[str, float] = {}
    for line in page.splitlines():
        if line.startswith(_PREFIX):
            full_name, _, number = line.partition(b" ")
            if (name := _NAMES.get(full_name)) is not None:
                values[name] = float(number)
    return values
