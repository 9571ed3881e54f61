"""The time between the request to end and the kill, as the backend that launched this process says it."""

from __future__ import annotations

import os
from collections.abc import Mapping

_VARIABLE = "HEADRACE_GRACE_SECONDS"
_DEFAULT = 1.0
_LONGEST = 86400.0


def grace_seconds(environ: Mapping[str, str] = os.environ) -> float:
    """Returns the seconds between SIGTERM and SIGKILL; backends that say nothing give one second at least."""
    try:
        seconds = float(environ.get(_VARIABLE, ""))
    except ValueError:
        return _DEFAULT
    return seconds if _DEFAULT < seconds <= _LONGEST else _DEFAULT


def usable_seconds(grace: float) -> float:
    """Returns how much of the time to use: the rest is for the interpreter to end, and for slow machines."""
    return grace - min(2.0, 0.3 * grace)


def hands_over(grace: float) -> bool:
    """Whether the time is long enough to do more than to close."""
    return grace > _DEFAULT
