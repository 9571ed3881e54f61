"""What a subject has used by day, as it was read, kept right while its clusters change. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace_controller.meter import Meter, Sums
from headrace_controller.store.usage import by_day


@dataclass(slots=True)
class Tally:
    """Sums by day, up to the store's time `at` in ms; what runs since then is not in them."""

    at: int
    sums: dict[int, Sums] = field(default_factory=dict)

    @classmethod
    def read(cls, sums: Mapping[int, Sums], at: int) -> Tally:
        """Return the sums as the store had them at a time."""
        return cls(at, dict(sums))

    def close(self, meter: Meter, until: int) -> None:
        """Add what a cluster was promised until it was promised something else, or ended.

        Otherwise the use of a cluster that has just ended would be known only when the sums are read again.
        """
        for day, ms in by_day(max(meter.since, self.at), until):
            self.sums[day] = self.sums.get(day, Sums()) + Sums.of(meter.rates, ms)
