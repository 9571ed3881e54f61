"""Which budgets bind, and how each stands. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from headrace.resource_names import group_name, user_name
from headrace_controller.meter import Meter
from headrace_controller.policy.file import PolicyFile
from headrace_controller.policy.sections import Budget
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
    """One bound of a budget of a subject. The currency is only a name: bounds are the same with another one."""

    subject: str
    what: What
    limit: float
    budget: Budget
    currency: str = field(default="", compare=False)

    def amount(self, number: str) -> str:
        """Return a number with what is counted: "100 core-hours", "0.15 EUR", "a cost of 0.15"."""
        if self.what != "cost":
            return f"{number} {'core-hours' if self.what == 'core_hours' else 'GPU-hours'}"
        return f"{number} {self.currency}" if self.currency else f"a cost of {number}"


def bounds(policy: PolicyFile, owner: str, groups: Iterable[str]) -> list[Bound]:
    """Return the bounds for a user's clusters: those of the user, then those of the groups."""
    budgets = policy.budgets
    found = [*_of(user_name(owner), budgets.users.get(owner, budgets.user), policy.currency)]
    for group in tuple(groups)[:MOST_GROUPS]:
        found += _of(group_name(group), budgets.groups.get(group, []), policy.currency)
    return found


def _of(subject: str, budgets: Iterable[Budget], currency: str) -> Iterable[Bound]:
    for budget in budgets:
        for what in _MEASURES:
            limit: float | None = getattr(budget, what)
            if limit is not None:
                yield Bound(subject, what, limit, budget, currency)


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
        bound = self.bound
        return f"the budget of {bound.subject} of {bound.amount(f'{bound.limit:g}')} for the {bound.budget.per}"

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
