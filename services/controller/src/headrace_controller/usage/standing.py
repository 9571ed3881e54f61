"""Which budgets bind, and how each stands. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from headrace.resource_names import group_name, user_name
from headrace_controller.meter import Meter
from headrace_controller.policy.sections import Budget, Budgets
from headrace_controller.store.accounts import MOST_GROUPS
from headrace_controller.store.usage import DAY_MS
from headrace_controller.usage.periods import date_of, period
from headrace_controller.usage.tally import Tally

What = Literal["cost", "core_hours", "gpu_hours"]

_HOUR_MS = 3_600_000
_MEASURES: Mapping[What, tuple[str, float]] = {  # of sums, and how many make one
    "cost": ("cost", 1e9),
    "core_hours": ("cores", 1000.0 * _HOUR_MS),
    "gpu_hours": ("gpus", float(_HOUR_MS)),
}


@dataclass(frozen=True, slots=True)
class Bound:
    """One bound of a budget of a subject."""

    subject: str
    what: What
    limit: float
    budget: Budget


def bounds(budgets: Budgets, owner: str, groups: Iterable[str]) -> list[Bound]:
    """Return the bounds for a user's clusters: those of the user, then those of the groups."""
    found = [*_of(user_name(owner), budgets.users.get(owner, budgets.user))]
    for group in tuple(groups)[:MOST_GROUPS]:
        found += _of(group_name(group), budgets.groups.get(group, []))
    return found


def _of(subject: str, budgets: Iterable[Budget]) -> Iterable[Bound]:
    for budget in budgets:
        for what in _MEASURES:
            limit: float | None = getattr(budget, what)
            if limit is not None:
                yield Bound(subject, what, limit, budget)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a bound stands at a time. Times in ms.

    Attributes
    ----------
    used_up
        Time at which it is used up if what runs goes on: now if it is, None if not in this period.
    """

    bound: Bound
    used: float
    starts: int
    resets: int
    used_up: int | None
    at: int

    @property
    def is_used_up(self) -> bool:
        return self.used >= self.bound.limit

    @property
    def share(self) -> float:
        """Used share, 1 if it is used up."""
        return 1.0 if self.is_used_up else self.used / self.bound.limit

    @property
    def warns(self) -> bool:
        """Whether people are warned."""
        return self.share >= self.bound.budget.warn_at

    @property
    def name(self) -> str:
        """Names it in sentences: "the budget of users/ann of 100 core-hours for the month"."""
        return f"the budget of {self.bound.subject} of {self.bound.limit:g} {self.unit} for the {self.bound.budget.per}"

    @property
    def unit(self) -> str:
        return {"cost": "in cost", "core_hours": "core-hours", "gpu_hours": "GPU-hours"}[self.bound.what]

    @property
    def begins_again(self) -> str:
        """The day on which it does, at midnight in UTC."""
        return date_of(self.resets // DAY_MS)


def standing(bound: Bound, tally: Tally, running: Iterable[Meter], now: int) -> Standing:
    """Return how a bound stands now, from what was used and from what runs."""
    name, one = _MEASURES[bound.what]
    days = period(bound.budget.per, now / 1000)
    starts, resets = days.start * DAY_MS, days.stop * DAY_MS
    total: float = sum(getattr(sums, name) for day, sums in tally.sums.items() if day in days)
    per_ms = 0.0
    for meter in running:
        rate = getattr(meter.rates, name) / (_HOUR_MS if name == "cost" else 1)
        total += rate * max(0, now - max(tally.at, starts, meter.since))
        per_ms += rate
    used = total / one
    used_up = None
    if used >= bound.limit:
        used_up = now
    elif per_ms and (then := now + (bound.limit - used) * one / per_ms) < resets:
        used_up = int(then)
    return Standing(bound, used, starts, resets, used_up, now)
