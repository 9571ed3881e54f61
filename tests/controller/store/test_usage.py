"""Usage: the sum of what was promised, times how long, exactly, whatever is scaled, re-tagged, or ends meanwhile."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import msgpack
from redis.asyncio import Redis
from tests.controller import builders
from tests.controller.builders import event
from tests.controller.conftest import assert_no_leaks
from tests.controller.emptying import empty
from tests.controller.signals.fake_signals import FakeSignals

from headrace_chassis.redis.connection import connect
from headrace_controller.keys import Keys
from headrace_controller.meter import MEASURES, RowLabels, Sums
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, ClusterId, Demand, Phase, Spec, Status, UserId
from headrace_controller.policy.file import PolicyFile
from headrace_controller.signals.measured import Measured
from headrace_controller.store import Fence, Store
from headrace_controller.store.accounts import Accounts, Kept
from headrace_controller.store.usage import DAY_MS, UsageOf
from headrace_controller.usage.measuring import Measuring
from headrace_controller.usage.pricing import Pricing

ANN = UserId("ann")
POLICY = {"profiles": {"default": {"prices": {"core_hour": 0.05, "memory_gib_hour": 0.007, "gpu_hour": 1.5}}}}


def new_cluster(**facts: Any) -> Cluster:
    return builders.new_cluster(profile="default", **facts)


class Metered:
    """A store whose clusters can be made to have run for a chosen time."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self.redis = redis
        self.keys = keys
        self.policy: Mapping[str, Any] = POLICY
        self.store = self.with_kept(Kept())

    def with_kept(self, kept: Kept) -> Store:
        return Store(self.redis, self.keys, accounts=Accounts(lambda: PolicyFile.model_validate(self.policy), kept))

    async def now(self) -> int:
        seconds, micros = await self.redis.time()
        return seconds * 1000 + micros // 1000

    async def create(self, cluster: Cluster, demand: Demand, store: Store | None = None) -> Cluster:
        records = (store or self.store).records
        made, _ = await records.create(cluster, secrets=b"", demand=demand, limits={}, event=event())
        return made

    async def promise(self, cluster: Cluster, demand: Demand, store: Store | None = None, **spec: Any) -> Cluster:
        number = str(cluster.generation)
        changed = replace(cluster.spec, **{"lifetime": float(number), **spec})
        records = (store or self.store).records
        return await records.change(
            cluster, lambda seen: replace(seen, spec=changed), demand=lambda _: demand, limits={}
        )

    async def ran(self, cluster: Cluster, ms: int) -> tuple[int, dict[str, float]]:
        """Let the cluster have had what it is promised now for so long already; returns since when, and the rates."""
        record = self.keys.record(cluster.id)
        meter: dict[str, Any] = msgpack.decode(cast("bytes", await self.redis.hget(record, "meter")))
        meter["since"] -= ms
        await self.redis.hset(record, "meter", msgpack.encode(meter))
        return meter["since"], meter["rates"]

    async def rows(self, *living: Cluster) -> list[UsageOf]:
        owners = {ANN: [cluster.id for cluster in living]}
        days = await self.days()
        return (await self.store.used.rows(owners, days))[1]

    async def days(self) -> range:
        today = await self.now() // DAY_MS
        return range(today - 500, today + 2)


@pytest.fixture
async def metered(redis: Redis, keys: Keys) -> AsyncIterator[Metered]:
    yield Metered(redis, keys)
    await assert_no_leaks(redis, keys)


def total(rows: list[UsageOf]) -> Sums:
    return sum((row.sums for row in rows), Sums())


def expected(intervals: list[tuple[Mapping[str, float], int, int]]) -> dict[int, dict[str, Fraction]]:
    """By day and measure, what rates make in intervals: the definition, in fractions."""
    sums: dict[int, dict[str, Fraction]] = defaultdict(lambda: dict.fromkeys(MEASURES, Fraction(0)))
    for rates, since, to in intervals:
        for day in range(since // DAY_MS, to // DAY_MS + 1):
            ms = min(to, (day + 1) * DAY_MS) - max(since, day * DAY_MS)
            for measure in MEASURES if ms > 0 else ():
                hours = 3_600_000 if measure == "cost" else 1
                sums[day][measure] += Fraction(rates[measure]) * ms / hours
    return sums


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    return Demand(
        clusters=1,
        workers=draw(st.integers(0, 100_000)),
        cores_milli=draw(st.one_of(st.integers(0, 10_000), st.integers(0, 3 * 10**9))),  # up to which it is exact
        memory_bytes=draw(st.one_of(st.integers(0, 2**36), st.integers(0, 2**50))),
        gpus=draw(st.integers(0, 1000)),
    )


STEPS = st.lists(st.tuples(demands(), st.integers(0, 3 * DAY_MS)), min_size=1, max_size=6)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_sum_is_the_integral_of_what_was_promised(
    steps: list[tuple[Demand, int]], redis_url: str, keys: Keys
) -> None:
    asyncio.run(_integrates(steps, redis_url, keys))


async def _integrates(steps: list[tuple[Demand, int]], redis_url: str, keys: Keys) -> None:
    async with connect(redis_url) as redis:
        await redis.flushdb()
        metered = Metered(redis, keys)
        cluster = await metered.create(new_cluster(), steps[0][0])
        intervals: list[tuple[Mapping[str, float], int, int]] = []
        for n, (_, ms) in enumerate(steps):
            since, rates = await metered.ran(cluster, ms)
            cluster = await metered.promise(cluster, steps[n + 1][0] if n + 1 < len(steps) else Demand())
            intervals.append((rates, since, cluster.meter.since))
        by_day: dict[int, Sums] = defaultdict(Sums)
        for row in await metered.rows():
            by_day[row.day] += row.sums
        wanted = expected(intervals)
        for day, sums in wanted.items():
            for measure in MEASURES:
                inexact = len(intervals) if measure == "cost" else 0  # halves of a billionth
                assert abs(getattr(by_day[day], measure) - sums[measure]) <= inexact
        # What is kept by subject is the same, and so is what the record has.
        _, totals = await metered.store.used.totals({"users/ann": [cluster.id]}, await metered.days())
        assert {day: sums for day, sums in totals["users/ann"].items() if sums != Sums()} == {
            day: sums for day, sums in by_day.items() if sums != Sums()
        }
        whole = total(await metered.rows())
        assert all(
            getattr(cluster.meter.spent, measure) == pytest.approx(getattr(whole, measure), rel=1e-15)
            for measure in MEASURES
        )


async def test_rates_are_what_is_promised_at_the_prices_in_force(metered: Metered) -> None:
    demand = Demand(clusters=1, workers=3, cores_milli=2500, memory_bytes=2**30 + 1, gpus=2)
    cluster = await metered.create(new_cluster(), demand)
    rates = cluster.meter.rates
    assert (rates.clusters, rates.workers, rates.cores, rates.memory, rates.gpus) == (1, 3, 2500, 1025, 2)
    assert rates.cost / 1e9 == pytest.approx(2.5 * 0.05 + 1025 / 1024 * 0.007 + 2 * 1.5)


async def test_a_changed_price_counts_at_once_and_leaves_the_past_as_it_is(metered: Metered) -> None:
    demand = Demand(clusters=1, cores_milli=1000, memory_bytes=2**30)
    cluster, other = [await metered.create(new_cluster(), demand) for _ in range(2)]
    mirror = ClusterMirror(metered.store)
    pricing = Pricing(metered.store, mirror, lambda: [cluster.id, other.id, ClusterId("c-gone")])
    mirror.apply(cluster)
    mirror.apply(other)
    await pricing.apply()
    assert await metered.store.reads.get(cluster.id) == cluster  # nothing has changed
    await metered.ran(cluster, 3_600_000)
    metered.policy = {"currency": "CHF", "profiles": {"default": {"prices": {"core_hour": 100}}}}
    await pricing.apply()
    assert total(await metered.rows()).money == pytest.approx(0.057, rel=0.01)
    await metered.ran(cluster, 3_600_000)
    repriced = await metered.store.reads.get(cluster.id)
    assert repriced.revision > cluster.revision  # so that mirrors and clients hear of it
    assert (repriced.meter.rates.cost, repriced.meter.currency, repriced.meter.rates.cores) == (100e9, "CHF", 1000)
    assert await metered.store.reads.get(other.id) != other
    await metered.promise(repriced, Demand())
    assert total(await metered.rows()).money == pytest.approx(100.057, rel=0.01)


async def test_clusters_of_a_profile_that_was_removed_keep_their_price(metered: Metered) -> None:
    demand = Demand(clusters=1, cores_milli=1000)
    cluster = await metered.create(new_cluster(), demand)
    metered.policy = {"profiles": {"other": {}}}
    assert not metered.store.used.is_mispriced(cluster)
    assert (await metered.promise(cluster, demand)).meter.rates.cost == 0.05e9


async def test_a_cluster_that_has_ended_or_is_not_metered_has_no_price(metered: Metered, redis: Redis) -> None:
    ended, old = [await metered.create(new_cluster(), Demand(clusters=1, cores_milli=1000)) for _ in range(2)]
    await redis.hdel(metered.keys.record(old.id), "meter", "account", "labels")
    metered.policy = {"profiles": {"default": {"prices": {"core_hour": 100}}}}
    assert not metered.store.used.is_mispriced(await metered.promise(ended, Demand()))
    read = await metered.store.reads.get(old.id)
    assert not metered.store.used.is_mispriced(read)
    await metered.store.used.reprice(read)
    assert await metered.store.reads.get(old.id) == read


async def test_what_runs_now_counts_at_any_time_and_once(metered: Metered) -> None:
    cluster = await metered.create(new_cluster(), Demand(clusters=1, cores_milli=4000))
    await metered.ran(cluster, 2 * DAY_MS)
    before = await metered.now()
    open_ = total(await metered.rows(cluster))
    after = await metered.now()
    assert before - cluster.meter.since <= open_.clusters - 2 * DAY_MS <= after - cluster.meter.since
    assert open_.cores == 4000 * open_.clusters
    cluster = await metered.promise(cluster, Demand())
    assert total(await metered.rows(cluster)) == total(await metered.rows())


async def test_an_end_is_the_end_of_use(metered: Metered, fence: Fence) -> None:
    cluster = await metered.create(new_cluster(), Demand(clusters=1, cores_milli=1000))
    await metered.ran(cluster, 5000)
    ended = replace(cluster, status=Status(phase=Phase.STOPPED, ended=1.0))
    cluster = await metered.store.records.save_status(cluster, ended, fence=fence)
    await metered.ran(cluster, 10**6)
    assert 5000 <= total(await metered.rows(cluster)).clusters < 10**6
    assert cluster.meter.rates.clusters == 0
    await metered.store.records.remove(cluster.id)
    assert total(await metered.rows()).clusters >= 5000


async def test_use_before_a_change_of_tags_keeps_the_tags_of_its_time(metered: Metered) -> None:
    one = Demand(clusters=1)
    spec = Spec(alias="x", tags={"team": "red", "": "\x00 \n"})
    cluster = await metered.create(replace(new_cluster(spec=spec), groups=("lab", "staff")), one)
    await metered.ran(cluster, 1000)
    cluster = await metered.promise(cluster, one, tags={"team": "blue"})
    await metered.ran(cluster, DAY_MS)
    await metered.promise(cluster, Demand())
    by_team = defaultdict(int)
    for row in await metered.rows():
        by_team[dict(row.labels.tags)["team"]] += row.sums.clusters
        assert (row.labels.cluster, row.labels.alias, row.labels.groups) == (cluster.id, "x", ("lab", "staff"))
    assert 1000 <= by_team["red"] < DAY_MS <= by_team["blue"]
    _, totals = await metered.store.used.totals({"groups/lab": [], "profiles/default": []}, await metered.days())
    assert sum(sums.clusters for sums in totals["groups/lab"].values()) == sum(by_team.values())
    assert totals["groups/lab"] == totals["profiles/default"]
    assert await metered.store.used.owners(await metered.days(), "groups/lab") == {ANN}
    assert await metered.store.used.owners(await metered.days(), "groups/la") == set()


async def test_ten_thousand_tags_and_clusters_grow_a_day_no_further(metered: Metered) -> None:
    store = metered.with_kept(Kept(rows=3))
    one = Demand(clusters=1)
    cluster = await metered.create(new_cluster(), one, store)
    for n in range(8):
        await metered.ran(cluster, 1000)
        cluster = await metered.promise(cluster, one, store, tags={f"tag-{n}": "y" * 63})
    many = {f"{n:02d}" + "k" * 61: "v" * 63 for n in range(32)}
    for _ in range(5):
        other = await metered.create(new_cluster(spec=Spec(tags=many)), one, store)
        await metered.ran(other, 1000)
        await metered.promise(other, Demand(), store)
    rows = await metered.rows()
    by_day: dict[int, list[RowLabels]] = defaultdict(list)
    for row in rows:
        by_day[row.day].append(row.labels)
    assert all(len(labels) <= 4 for labels in by_day.values())
    assert total(rows).clusters >= 13_000  # nothing is left out
    fields = [key async for key in metered.redis.scan_iter(metered.keys.used_by("*"))]
    assert all([await metered.redis.ttl(key) > 0 for key in fields])


async def test_tags_that_are_kept_have_a_bounded_length(metered: Metered) -> None:
    many = {f"{n:02d}" + "k" * 61: "v" * 63 for n in range(32)}
    cluster = await metered.create(new_cluster(spec=Spec(tags=many)), Demand(clusters=1))
    (row,) = {row.labels for row in await metered.rows(cluster)}
    assert sum(len(key) + len(value) for key, value in row.tags) <= 1024


async def test_absurd_promises_never_make_a_write_fail(metered: Metered, fence: Fence) -> None:
    absurd = Demand(clusters=1, workers=10**15, cores_milli=2**53 - 1, memory_bytes=2**53 - 1, gpus=2**53 - 1)
    cluster = await metered.create(new_cluster(), absurd)
    for _ in range(5):
        await metered.ran(cluster, 300 * DAY_MS)
        cluster = await metered.promise(cluster, absurd)
    assert await metered.store.reads.get(cluster.id) == cluster
    ended = replace(cluster, status=Status(phase=Phase.STOPPED, ended=1.0))
    assert (await metered.store.records.save_status(cluster, ended, fence=fence)).meter.rates.clusters == 0


async def test_an_adopted_cluster_has_used_what_its_manifest_says_and_what_it_had_since(metered: Metered) -> None:
    demand = Demand(clusters=1, cores_milli=2000)
    cluster = await metered.create(new_cluster(), demand)
    await metered.ran(cluster, 5 * 3_600_000)
    cluster = await metered.promise(cluster, demand)
    meter = replace(cluster.meter, since=cluster.meter.since - 2 * DAY_MS)  # as its manifest has it
    await empty(metered.redis)
    adopted = await metered.store.records.adopt(replace(cluster, meter=meter), secrets=b"", demand=demand)
    assert adopted is not None
    assert adopted.meter.spent.core_seconds == pytest.approx(2 * (5 * 3600 + 2 * 86_400), rel=0.01)
    rows = await metered.rows()
    assert total(rows).core_seconds == pytest.approx(2 * 2 * 86_400, rel=0.01)  # before, nothing is known of days
    assert len({row.day for row in rows}) == 3
    assert adopted == await metered.store.reads.get(cluster.id)


async def test_a_clock_that_was_set_back_takes_nothing_away(metered: Metered) -> None:
    cluster = await metered.create(new_cluster(), Demand(clusters=1))
    await metered.ran(cluster, -DAY_MS)  # noted tomorrow
    assert total(await metered.rows(cluster)) == Sums()
    cluster = await metered.promise(cluster, Demand(clusters=1))
    assert total(await metered.rows()) == Sums()
    assert abs(cluster.meter.since - await metered.now()) < 60_000


async def test_a_record_of_an_earlier_release_is_metered_from_its_next_change_on(
    metered: Metered, redis: Redis, fence: Fence
) -> None:
    cluster = await metered.create(new_cluster(), Demand(clusters=1))
    old = await metered.create(new_cluster(), Demand(clusters=1))
    for made in (cluster, old):
        await redis.hdel(metered.keys.record(made.id), "meter", "account", "labels")
    cluster = await metered.promise(await metered.store.reads.get(cluster.id), Demand(clusters=1))
    assert cluster.meter.since
    read = await metered.store.reads.get(old.id)
    assert read.meter.since == 0
    ended = replace(read, status=Status(phase=Phase.STOPPED, ended=1.0))
    assert (await metered.store.records.save_status(read, ended, fence=fence)).meter.since == 0


async def test_what_was_measured_stands_beside_what_was_promised(metered: Metered, fence: Fence) -> None:
    cluster = await metered.create(new_cluster(), Demand(clusters=1, cores_milli=2000, memory_bytes=2**30))
    other = await metered.create(new_cluster(), Demand(clusters=1, cores_milli=2000))
    signals = FakeSignals()
    mirror = ClusterMirror(metered.store)
    for one in (cluster, other):
        mirror.apply(one)
    measuring = Measuring(lambda: signals, metered.store, mirror, lambda: [cluster.id, other.id, ClusterId("c-gone")])
    now = await metered.now() / 1000

    async def sample(seconds: float, core_seconds: float, gib_seconds: float) -> None:
        signals.set(
            cluster.id,
            Measured(time=now + seconds, core_seconds=core_seconds, memory_byte_seconds=gib_seconds * 2**30),
        )
        await measuring.add()

    await sample(0, 1000, 1000)  # what was before the first sample is not known
    await sample(60, 1030, 1012)
    await sample(120, 1030 + 10**9, 1012 + 10**9)  # a lie counts as much as was promised
    await sample(180, 5, 5)  # a scheduler that began again
    await sample(180 + 3600, 50, 50)  # nobody measured meanwhile
    signals.let_go_stale(cluster.id)
    await measuring.add()
    rows = {row.labels.cluster: row for row in await metered.rows(cluster, other) if row.measured}
    assert rows.keys() == {cluster.id}
    measured = [row.measured for row in await metered.rows(cluster, other) if row.measured]
    whole = sum(measured, Sums())
    assert (whole.cluster_seconds, whole.core_seconds, whole.gib_seconds) == (120, 30 + 120, 12 + 60)
    ended = replace(cluster, status=Status(phase=Phase.STOPPED, ended=1.0))
    await metered.store.records.save_status(cluster, ended, fence=fence)
    assert sum((row.measured for row in await metered.rows() if row.measured), Sums()) == whole
