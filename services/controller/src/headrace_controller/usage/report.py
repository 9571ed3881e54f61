"""Usage, summed by what was asked for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from headrace.resource_names import cluster_name, group_name, user_name
from headrace_controller.meter import RowLabels, Sums
from headrace_controller.store.usage import UsageOf
from headrace_controller.usage.periods import date_of, month_of

MAX_SUMS = 100_000
_NOTHING = Sums()


class Dimension(StrEnum):
    """What usage is summed by."""

    DAY = "day"
    MONTH = "month"
    USER = "user"
    GROUP = "group"
    PROFILE = "profile"
    CLUSTER = "cluster"
    TAG = "tag"


@dataclass(frozen=True, slots=True)
class Line:
    """A sum. `key` has a value for each dimension."""

    key: tuple[str, ...]
    alias: str
    sums: Sums
    measured: Sums | None


class TooManySums(ValueError):
    """A report would have more sums than anybody reads."""


class Report:
    """Sums of rows. What is in two groups, or has two tags, counts in both."""

    def __init__(self, by: Sequence[Dimension], tag_key: str = "") -> None:
        self._by = by
        self._tag_key = tag_key
        self._sums: dict[tuple[str, ...], Sums] = {}
        self._measured: dict[tuple[str, ...], Sums] = {}
        self._aliases: dict[tuple[str, ...], str] = {}

    def add(self, rows: Iterable[UsageOf]) -> None:
        """Add rows; raise `TooManySums`."""
        for row in rows:
            for key in _keys(row, self._by, self._tag_key):
                self._sums[key] = self._sums.get(key, _NOTHING) + row.sums
                if row.measured is not None:
                    self._measured[key] = self._measured.get(key, _NOTHING) + row.measured
                if Dimension.CLUSTER in self._by:
                    self._aliases[key] = row.labels.alias
        if len(self._sums) > MAX_SUMS:
            raise TooManySums

    def lines(self) -> list[Line]:
        """Return the sums, sorted by their keys."""
        return [
            Line(key, self._aliases.get(key, ""), self._sums[key], self._measured.get(key))
            for key in sorted(self._sums)
        ]


def _keys(row: UsageOf, by: Sequence[Dimension], tag_key: str) -> Iterator[tuple[str, ...]]:
    return product(*(_values(row, dimension, tag_key) for dimension in by))


def _values(row: UsageOf, dimension: Dimension, tag_key: str) -> Sequence[str]:
    labels = row.labels
    match dimension:
        case Dimension.DAY:
            return [date_of(row.day)]
        case Dimension.MONTH:
            return [month_of(row.day)]
        case Dimension.USER:
            return [user_name(row.owner)]
        case Dimension.GROUP:
            return [group_name(group) for group in labels.groups] or [""]
        case Dimension.PROFILE:
            return [labels.profile]
        case Dimension.CLUSTER:
            return [cluster_name(labels.cluster) if labels.cluster else ""]
        case Dimension.TAG:
            return _tags(labels, tag_key)


def _tags(labels: RowLabels, key: str) -> Sequence[str]:
    tags: Mapping[str, str] = dict(labels.tags)
    return [tags.get(key, "")] if key else [f"{name}={value}" for name, value in tags.items()] or [""]
