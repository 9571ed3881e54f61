"""Limits as the scripts take them, and the error for the one that binds."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.errors import QuotaExceeded
from headrace_controller.model import Demand, Limits
from headrace_controller.resources import shown
from headrace_controller.store.codec import pack_demand


def packed_limits(limits: Mapping[str, Limits]) -> list[dict[str, object]]:
    """The limits in the order in which they are checked, as `refusal` in ledger.lua reads them."""
    return [{"subject": subject, "bounds": list(bounds.items())} for subject, bounds in limits.items() if bounds]


def exceeded(demand: Demand, answer: list[bytes]) -> QuotaExceeded:
    """Makes the error from a script's answer {'limit', subject, resource, used, had, limit}."""
    subject, resource = answer[1].decode(), answer[2].decode()
    used, had, limit = (int(number) for number in answer[3:6])
    asked = max(1, pack_demand(demand).get(resource, 0) - had)
    what, _ = shown(resource, 0)
    numbers = {"limit": limit, "used": used, "asked": asked}
    return QuotaExceeded.of(subject=subject, what=what, **{name: shown(resource, n)[1] for name, n in numbers.items()})
