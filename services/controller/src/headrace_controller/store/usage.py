"""What was used, as `scripts/usage.lua` has added it up, with what runs now added to it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any, cast

from msgspec import msgpack

from headrace_controller.meter import MEASURES, RowLabels, Sums
from headrace_controller.model import Cluster, ClusterId, UserId
from headrace_controller.store.accounts import Accounts
from headrace_controller.store.codec import unpack_meter
from headrace_controller.store.connection import Connection, ledger_script, plain_script, usage_script

DAY_MS = 86_400_000
_AT_ONCE = 100
_SCANNED_AT_ONCE = 5000
_labels = msgpack.Decoder(RowLabels)
_measured = usage_script("measured")
_reprice = ledger_script("reprice")
_sums = msgpack.Decoder(list[tuple[int, int, list[str]]])
_totals = plain_script("totals")
Days = range
_Hash = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class UsageOf:
    """What an owner used on one day for what these labels say. `day` counts from the epoch, in UTC."""

    day: int
    owner: UserId
    labels: RowLabels
    sums: Sums
    measured: Sums | None = None


@dataclass(frozen=True, slots=True)
class MeasuredOf:
    """What was measured of a cluster on one day."""

    cluster: ClusterId
    owner: UserId
    day: int
    sums: Sums


class Usage:
    """Reads and adds sums. Each answer is of one moment, also where a cluster is scaled meanwhile."""

    def __init__(self, connection: Connection, accounts: Accounts) -> None:
        self._connection = connection
        self._keys = connection.keys
        self._accounts = accounts

    async def owners(self, days: Days, subject: str = "") -> set[UserId]:
        """Return those whose use was added to a subject's sums on these days, or to any."""
        kind = subject.partition("/")[0] or "users"
        return {UserId(owner) for of, owner in await self._members(kind, days) if subject in {"", of}}

    async def subjects(self, kind: str, days: Days) -> set[str]:
        """Return the subjects with sums on these days, of one kind: "users", "groups" or "profiles"."""
        return {subject for subject, _ in await self._members(kind, days)}

    async def rows(self, owners: Mapping[UserId, Sequence[ClusterId]], days: Days) -> tuple[int, list[UsageOf]]:
        """Return the time in ms, and what these owners used on these days. Each comes with its living clusters."""
        kept = [(owner, day) for owner in owners for day in days]
        running = [(owner, cluster) for owner, clusters in owners.items() for cluster in clusters]
        now, answers = await self._at_once(
            *(("HGETALL", self._keys.used_by(day, owner)) for owner, day in kept),
            *(("HMGET", self._keys.record(cluster), "meter", "labels") for _, cluster in running),
        )
        found: list[UsageOf] = []
        for (owner, day), hash_ in zip(kept, cast("list[_Hash]", answers), strict=False):
            found += _rows(owner, day, hash_)
            await asyncio.sleep(0)  # other calls get their turn
        for (owner, _), (meter, labels) in zip(running, answers[len(kept) :], strict=True):
            if labels is not None:
                of = _labels.decode(labels)
                found += [UsageOf(day, owner, of, sums) for day, sums in _open(meter, now) if day in days]
        return now, found

    async def totals(
        self, subjects: Mapping[str, Sequence[ClusterId]], days: Days
    ) -> tuple[int, Mapping[str, Mapping[int, Sums]]]:
        """Return the time in ms, and by subject and day what was used. Each subject comes with its living clusters."""
        running = [(subject, cluster) for subject, clusters in subjects.items() for cluster in clusters]
        keys = [*map(self._keys.used, days), *(self._keys.record(cluster) for _, cluster in running)]
        ask = {"subjects": list(subjects), "measures": MEASURES, "days": len(days)}
        seconds, micros, sums, meters = await self._connection.run(_totals, keys, ask)
        now = _ms(seconds, micros)
        names = list(subjects)
        found: dict[str, dict[int, Sums]] = {subject: defaultdict(Sums) for subject in subjects}
        for subject, day, amounts in _sums.decode(sums):
            found[names[subject]][days[day]] = Sums(**dict(zip(MEASURES, map(int, amounts), strict=True)))
        for (subject, _), meter in zip(running, meters, strict=True):
            for day, open_ in _open(meter, now):
                if day in days:
                    found[subject][day] += open_
        return now, found

    async def add_measured(self, measured: Sequence[MeasuredOf]) -> None:
        """Add what was measured of clusters to their rows."""
        for start in range(0, len(measured), _AT_ONCE):
            some = measured[start : start + _AT_ONCE]
            items = [
                {
                    "cluster": one.cluster,
                    "owner": one.owner,
                    "day": one.day,
                    "sums": {"clusters": one.sums.clusters, "cores": one.sums.cores, "memory": one.sums.memory},
                }
                for one in some
            ]
            keys = [self._keys.record(one.cluster) for one in some]
            await self._connection.run(_measured, keys, {"used_by": self._keys.used_by(""), "measured": items})

    def is_mispriced(self, cluster: Cluster) -> bool:
        """Whether a cluster costs something else than the prices in force make of what it is promised."""
        prices, rates = self._accounts.prices(cluster), cluster.meter.rates
        if prices is None or not cluster.meter.since:
            return False
        cost = sum(getattr(rates, measure) * price for measure, price in prices.items())
        return not isclose(cost, rates.cost) or (cost > 0 and cluster.meter.currency != self._accounts.currency)

    async def reprice(self, cluster: Cluster) -> None:
        """Have a cluster cost the prices in force from now on; the mirror hears of it as of any write."""
        ask = {"prices": self._accounts.prices(cluster), "currency": self._accounts.currency}
        await self._connection.run_on(_reprice, cluster.id, cluster.owner, ask)

    async def _members(self, kind: str, days: Days) -> set[tuple[str, str]]:
        """Subjects of a kind, each with an owner whose use is in its sums."""
        found: set[tuple[str, str]] = set()
        scan = "MATCH", f"member {kind}/*", "COUNT", _SCANNED_AT_ONCE
        for day in days:
            cursor = None
            while cursor != 0:
                answer = await self._connection.command("HSCAN", self._keys.used(day), cursor or 0, *scan)
                cursor, fields = cast("tuple[int, dict[bytes, bytes]]", answer)
                texts = (field.decode().removeprefix("member ").partition("\n") for field in fields)
                found.update((subject, owner) for subject, _, owner in texts)
        return found

    async def _at_once(self, *commands: Sequence[str]) -> tuple[int, list[Any]]:
        (seconds, micros), *answers = await self._connection.commands(("TIME",), *commands, atomically=True)
        return _ms(seconds, micros), answers


def _ms(seconds: bytes | int, micros: bytes | int) -> int:
    return int(seconds) * 1000 + int(micros) // 1000


def by_day(from_: int, to: int) -> Iterator[tuple[int, int]]:
    """Yield the days of an interval in ms, with the part of it that is in each."""
    while from_ < to:
        day = from_ // DAY_MS
        end = min(to, (day + 1) * DAY_MS)
        yield day, end - from_
        from_ = end


def _open(meter: bytes | None, now: int) -> Iterable[tuple[int, Sums]]:
    """What a cluster has used since it was last added up."""
    read = unpack_meter(meter)
    if not read.since:
        return []
    return [(day, Sums.of(read.rates, ms)) for day, ms in by_day(read.since, now)]


def _rows(owner: UserId, day: int, hash_: _Hash) -> Iterator[UsageOf]:
    sums: dict[str, dict[str, int]] = defaultdict(dict)
    measured: dict[str, dict[str, int]] = defaultdict(dict)
    labels: dict[str, RowLabels] = {}
    for field, value in hash_.items():
        what, _, row = field.decode().partition(" ")
        if what == "labels":
            labels[row] = _labels.decode(value)
        elif what in MEASURES:
            sums[row][what] = int(value)
        elif (measure := what.removeprefix("measured-")) in MEASURES:
            measured[row][measure] = int(value)
    for row, of in labels.items():
        yield UsageOf(day, owner, of, Sums(**sums[row]), Sums(**measured[row]) if row in measured else None)
