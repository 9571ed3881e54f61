"""Days, weeks and months in UTC. A day is a number of days since the epoch. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

_EPOCH = date(1970, 1, 1)
_DAY_SECONDS = 86_400


def day_of(seconds: float) -> int:
    """Return the day of a time."""
    return int(seconds // _DAY_SECONDS)


def date_of(day: int) -> str:
    """Return a day as people write it, such as ``2026-11-26``."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def month_of(day: int) -> str:
    """Return the month of a day as people write it, such as ``2026-11``."""
    return date_of(day).rpartition("-")[0]


def read_day(text: str) -> int:
    """Return the day of such a text; raise `ValueError`."""
    return (date.fromisoformat(text) - _EPOCH).days


def period(per: str, seconds: float) -> range:
    """Return the days of the "day", "week" (from Monday) or "month" with a time in it."""
    today = datetime.fromtimestamp(seconds, UTC).date()
    if per == "week":
        first = today - timedelta(days=today.weekday())
        after = first + timedelta(days=7)
    elif per == "month":
        first = today.replace(day=1)
        after = (first + timedelta(days=31)).replace(day=1)
    else:
        first, after = today, today + timedelta(days=1)
    return range((first - _EPOCH).days, (after - _EPOCH).days)
