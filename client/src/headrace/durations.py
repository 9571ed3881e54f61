"""Lengths of time as people write them."""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_NAMES = {
    "sec": "s",
    "second": "s",
    "seconds": "s",
    "m": "min",
    "minute": "min",
    "minutes": "min",
    "hr": "h",
    "hour": "h",
    "hours": "h",
    "day": "d",
    "days": "d",
    "week": "w",
    "weeks": "w",
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", re.ASCII)
_MAX_LENGTH = 64


def parse_duration(text: str) -> float | None:
    """Return the seconds of ``"2 h"``, ``"1 h 30 min"``, ``"300ms"`` or ``"90"``; None if it is no length of time."""
    rest = text.strip().lower()
    if not rest or len(text) > _MAX_LENGTH:
        return None
    total, position = 0.0, 0
    while position < len(rest):
        part = _PART.match(rest, position)
        if part is None:
            return None
        number, unit = part.groups()
        # Only a number that stands alone has no unit.
        scale = _UNITS.get(_NAMES.get(unit, unit)) if unit else 1.0 if part.span() == (0, len(rest)) else None
        if scale is None:
            return None
        total += float(number) * scale
        position = part.end()
    return total


def format_duration(seconds: float) -> str:
    """Return a length of time as text, exactly: ``"2 h"``, ``"90 min"``, ``"0.5 s"``."""
    for unit in ("d", "h", "min"):
        count = seconds / _UNITS[unit]
        if count and count.is_integer():
            return f"{count:.0f} {unit}"
    return f"{seconds:.15g} s"
