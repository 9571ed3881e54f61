"""What a cluster was promised, times how long: the sums that `scripts/usage.lua` makes, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from math import floor
from typing import Self

_HOUR_MS = 3_600_000
_MOST_COST = float(2**52)
_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What is promised, as it is counted: thousandths of cores, MiB; billionths of the currency an hour."""

    clusters: float = 0
    workers: float = 0
    cores: float = 0
    memory: float = 0
    gpus: float = 0
    cost: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Rates times milliseconds, in whole numbers; the cost in billionths of the currency."""

    clusters: int = 0
    workers: int = 0
    cores: int = 0
    memory: int = 0
    gpus: int = 0
    cost: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(  # written out: reports add hundreds of thousands
            clusters=self.clusters + other.clusters,
            workers=self.workers + other.workers,
            cores=self.cores + other.cores,
            memory=self.memory + other.memory,
            gpus=self.gpus + other.gpus,
            cost=self.cost + other.cost,
        )

    @classmethod
    def of(cls, rates: Rates, ms: int) -> Self:
        """Return what rates make in some milliseconds of one day, as the script does."""
        cost = floor(min(rates.cost * ms / _HOUR_MS, _MOST_COST) + 0.5)
        return cls(cost=cost, **{name: int(getattr(rates, name)) * ms for name in MEASURES if name != "cost"})

    @property
    def cluster_seconds(self) -> float:
        return self.clusters / 1000

    @property
    def worker_seconds(self) -> float:
        return self.workers / 1000

    @property
    def core_seconds(self) -> float:
        return self.cores / 1_000_000

    @property
    def gib_seconds(self) -> float:
        return self.memory / 1024 / 1000

    @property
    def gpu_seconds(self) -> float:
        return self.gpus / 1000

    @property
    def money(self) -> float:
        """The cost in the currency."""
        return self.cost / _NANO


MEASURES = tuple(field.name for field in fields(Sums))


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """What a cluster is promised, since when (in ms; 0: it is not metered), and what it has used before."""

    since: int = 0
    rates: Rates = field(default_factory=Rates)
    spent: Sums = field(default_factory=Sums)  # since its creation
    currency: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLabels:
    """What a row of usage is about. Without a cluster: those beyond the number of rows that are kept."""

    profile: str = ""
    groups: tuple[str, ...] = ()
    cluster: str = ""
    alias: str = ""
    tags: tuple[tuple[str, str], ...] = ()
