"""How budgets stand, as a table: periods, what runs, and when it is used up."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace_controller.meter import Meter, Rates, Sums
from headrace_controller.policy.file import PolicyFile
from headrace_controller.policy.sections import Budget, Budgets
from headrace_controller.store.usage import DAY_MS, by_day
from headrace_controller.usage.periods import date_of, day_of, period, read_day
from headrace_controller.usage.standing import Bound, bounds, standing
from headrace_controller.usage.tally import Tally

HOUR = 3_600_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def bound(per: str = "day", **limit: float) -> Bound:
    ((what, number),) = limit.items()
    return Bound("users/ann", what, number, Budget.model_validate({"per": per, what: number}))  # type: ignore[arg-type]


def running(since: str, **rates: float) -> Meter:
    return Meter(since=ms(since), rates=Rates(**rates))


def core_hours(hours: float) -> Sums:
    return Sums(cores=round(hours * 1000 * HOUR))


@pytest.mark.parametrize(
    ("per", "time", "first", "after"),
    [
        ("day", "2026-11-26T23:59:59", "2026-11-26", "2026-11-27"),
        ("week", "2026-11-26", "2026-11-23", "2026-11-30"),
        ("week", "2026-11-23", "2026-11-23", "2026-11-30"),
        ("week", "2027-01-01", "2026-12-28", "2027-01-04"),
        ("month", "2026-11-26", "2026-11-01", "2026-12-01"),
        ("month", "2026-12-31", "2026-12-01", "2027-01-01"),
        ("month", "2028-02-29", "2028-02-01", "2028-03-01"),
    ],
)
def test_periods_are_those_of_the_calendar_in_utc(per: str, time: str, first: str, after: str) -> None:
    days = period(per, ms(time) / 1000)
    assert (date_of(days.start), date_of(days.stop)) == (first, after)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 - in UTC
def test_a_day_is_written_as_it_is_read(time: datetime) -> None:
    seconds = time.replace(tzinfo=UTC).timestamp()
    assert date_of(day_of(seconds)) == time.date().isoformat()
    assert read_day(time.date().isoformat()) == day_of(seconds)
    assert all(day_of(seconds) in period(per, seconds) for per in ("day", "week", "month"))


def test_only_days_of_the_period_count() -> None:
    now = ms("2026-11-26T12:00")
    today = now // DAY_MS
    sums = {today - 40: core_hours(100), today - 3: core_hours(3), today: core_hours(2)}
    assert standing(bound(core_hours=10), Tally(now, sums), [], now).used == 2
    assert standing(bound("week", core_hours=10), Tally(now, sums), [], now).used == 5
    assert standing(bound("month", core_hours=10), Tally(now, sums), [], now).used == 5


def test_what_runs_counts_since_the_sums_were_read_and_is_used_up_in_time() -> None:
    read, now = ms("2026-11-26T12:00"), ms("2026-11-26T13:00")
    sums = {read // DAY_MS: core_hours(2)}
    two_cores = [running("2026-11-26T01:00", cores=2000)]
    one = standing(bound(core_hours=10), Tally(read, sums), two_cores, now)
    assert (one.used, one.share, one.is_used_up) == (4, 0.4, False)
    assert one.used_up == ms("2026-11-26T16:00")
    assert one.begins_again == "2026-11-27"


def test_what_is_scaled_after_the_reading_counts_from_then_on() -> None:
    read, now = ms("2026-11-26T12:00"), ms("2026-11-26T13:00")
    scaled = [running("2026-11-26T12:59", cores=60_000)]
    assert standing(bound(core_hours=10), Tally(read), scaled, now).used == pytest.approx(1)


STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 2 * DAY_MS), st.integers(0, 10_000)), min_size=1, max_size=12
)


@given(steps=STEPS, read_at=st.integers(0, 11), rest=st.integers(0, DAY_MS))
def test_what_is_known_is_what_was_used_however_clusters_change_after_the_reading(
    steps: list[tuple[str, int, int]], read_at: int, rest: int
) -> None:
    now = ms("2026-11-26T12:00")
    used: dict[int, Sums] = defaultdict(Sums)  # the definition: rates times durations
    meters: dict[str, Meter] = {}
    tally = Tally(now)

    def pass_(duration: int) -> None:
        for day, part in by_day(now, now + duration):
            for meter in meters.values():
                used[day] += Sums.of(meter.rates, part)

    for n, (cluster, duration, cores) in enumerate(steps):
        pass_(duration)
        now += duration
        if n <= read_at:
            tally = Tally.read(used, now)
        if cluster in meters:
            tally.close(meters[cluster], now)
        meters[cluster] = Meter(since=now, rates=Rates(cores=cores))
    pass_(rest)
    now += rest
    one = standing(bound("month", core_hours=10), tally, meters.values(), now)
    month = period("month", now / 1000)
    assert one.used == pytest.approx(sum(sums.cores for day, sums in used.items() if day in month) / 1000 / HOUR)


def test_a_new_period_begins_at_nothing() -> None:
    read, now = ms("2026-11-26T23:00"), ms("2026-11-27T00:30")
    sums = {read // DAY_MS: core_hours(50)}
    one = standing(bound(core_hours=10), Tally(read, sums), [running("2026-11-26T01:00", cores=2000)], now)
    assert one.used == 1
    assert one.used_up == ms("2026-11-27T05:00")


def test_what_lasts_beyond_the_period_is_not_used_up() -> None:
    now = ms("2026-11-26T23:00")
    one = standing(bound(core_hours=10), Tally(now), [running("2026-11-26T01:00", cores=2000)], now)
    assert one.used_up is None


@pytest.mark.parametrize("limit", [{"cost": 0}, {"core_hours": 0}, {"gpu_hours": 0}])
def test_a_budget_of_nothing_is_used_up(limit: dict[str, Any]) -> None:
    one = standing(bound(**limit), Tally(0), [], ms("2026-11-26"))
    assert one.is_used_up
    assert one.share == 1
    assert one.used_up == one.at


def test_cost_and_gpus() -> None:
    read, now = ms("2026-11-26T12:00"), ms("2026-11-26T13:00")
    sums = {read // DAY_MS: Sums(cost=2 * 10**9, gpus=3 * HOUR)}
    meters = [running("2026-11-26T01:00", cost=1.5e9, gpus=2)]
    assert standing(bound(cost=10), Tally(read, sums), meters, now).used == pytest.approx(3.5)
    assert standing(bound(gpu_hours=10), Tally(read, sums), meters, now).used == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"core_hours": -1},
        {"cost": float("nan")},
        {"gpu_hours": float("inf")},
        {"cost": 1e10},
        {"cost": 1, "warn_at": 0},
        {"cost": 1, "warn_at": 1.5},
        {"cost": 1, "per": "year"},
        {"cost": 1, "grace": 61},
        {},
    ],
)
def test_budgets_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Budget.model_validate({"per": "day", **wrong})


@given(limit=st.floats(0, 1e9), used=st.floats(0, 1e9), rate=st.floats(0, 1e15), per=st.sampled_from(["day", "month"]))
def test_a_budget_of_any_size_stands_somewhere(limit: float, used: float, rate: float, per: str) -> None:
    now = ms("2026-11-26T12:00")
    tally = Tally(now, {now // DAY_MS: core_hours(used)})
    one = standing(bound(per, core_hours=limit), tally, [Meter(since=now, rates=Rates(cores=rate))], now)
    assert 0 <= one.share <= 1
    assert not one.is_used_up or one.used_up == now
    assert one.used_up is None or now <= one.used_up <= one.resets


def test_all_budgets_of_a_user_in_two_groups_bind() -> None:
    settings = Budgets.model_validate(
        {
            "user": [{"per": "day", "core_hours": 1}, {"per": "month", "core_hours": 9}],
            "groups": {name: [{"per": "week", "core_hours": 2}] for name in ("lab", "staff", "others")},
        }
    )
    found = [(one.subject, one.budget.per) for one in bounds(PolicyFile(budgets=settings), "ann", ["staff", "lab"])]
    own = [("users/ann", "day"), ("users/ann", "month")]
    assert found == [*own, ("groups/staff", "week"), ("groups/lab", "week")]


@pytest.mark.parametrize(
    ("what", "currency", "name"),
    [
        ("cost", "EUR", "0.15 EUR"),
        ("cost", "", "a cost of 0.15"),
        ("core_hours", "EUR", "0.15 core-hours"),
        ("gpu_hours", "", "0.15 GPU-hours"),
    ],
)
def test_a_budget_is_told_with_its_unit(what: str, currency: str, name: str) -> None:
    policy = PolicyFile.model_validate({"currency": currency, "budgets": {"user": [{"per": "day", what: 0.15}]}})
    (found,) = bounds(policy, "ann", [])
    now = ms("2026-11-26T12:00")
    assert standing(found, Tally(now), [], now).name == f"the budget of users/ann of {name} for the day"


def test_single_users_have_their_own_and_groups_bind_besides() -> None:
    def of(number: float) -> list[dict[str, Any]]:
        return [{"per": "day", "core_hours": number}]

    settings = Budgets.model_validate(
        {
            "user": of(1),
            "users": {"bob": of(2), "eve": []},
            "groups": {"lab": [{"per": "week", "cost": 3, "gpu_hours": 4}]},
        }
    )
    found = {
        name: [(one.subject, one.limit) for one in bounds(PolicyFile(budgets=settings), name, ["x", "lab"])]
        for name in ("ann", "bob", "eve")
    }
    lab = [("groups/lab", 3), ("groups/lab", 4)]
    assert found == {"ann": [("users/ann", 1), *lab], "bob": [("users/bob", 2), *lab], "eve": lab}
