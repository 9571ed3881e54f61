"""UsageService: who may see whose usage, of which days, summed by what, in pages."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec import msgpack
from redis.asyncio import Redis
from tests.conftest import Eventually
from tests.controller.api.usage_calls import ask
from tests.controller.emptying import empty
from tests.controller.errors_of import fails, wrong_fields
from tests.controller.running import DEPLOYMENT, Replica, Site

from headrace.errors import ClusterNotFound, HeadraceError, InvalidRequest, PermissionDenied
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as cluster_pb
from headrace.v1 import usage_service_pb2 as pb
from headrace_chassis.identity.caller import ADMIN, USER
from headrace_chassis.redis.keys import Prefix
from headrace_controller.keys import Keys
from headrace_controller.model import ClusterId

HOUR_MS = 3_600_000
POLICY = """
currency: EUR
profiles:
  small: {prices: {core_hour: 0.5}}
  large: {prices: {core_hour: 2, gpu_hour: 3}}
roles:
  operators: {lab: [users/olga]}
"""
DAY, MONTH, USER_, GROUP, PROFILE, CLUSTER, TAG = (
    pb.USAGE_DIMENSION_DAY,
    pb.USAGE_DIMENSION_MONTH,
    pb.USAGE_DIMENSION_USER,
    pb.USAGE_DIMENSION_GROUP,
    pb.USAGE_DIMENSION_PROFILE,
    pb.USAGE_DIMENSION_CLUSTER,
    pb.USAGE_DIMENSION_TAG,
)


@pytest.fixture
async def priced(site: Site, directory: Path) -> Replica:
    """A controller with prices."""
    file = directory / "policy.yaml"
    file.write_text(POLICY)
    return await site.replica(policy_file=file)


async def run(
    controller: Replica, redis: Redis, owner: str, hours: float, *, groups: Sequence[str] = (), **spec: Any
) -> cluster_pb2.Cluster:
    """Create a cluster and let it have run for some hours."""
    user = await controller.user(owner, groups=groups)
    made = await user.create(**spec)
    record = Keys(Prefix(DEPLOYMENT)).record(ClusterId(made.name.removeprefix("clusters/")))
    packed = cast("bytes", await redis.hget(record, "meter"))
    meter: dict[str, Any] = msgpack.decode(packed)
    await redis.hset(record, "meter", msgpack.encode({**meter, "since": meter["since"] - round(hours * HOUR_MS)}))
    return made


def core_hours(rows: Sequence[pb.UsageRow], field: str) -> Mapping[str, float]:
    return {getattr(row, field): row.promised.core_seconds / 3600 for row in rows}


def about(hours: Mapping[str, float]) -> Any:
    """The clusters run on while a test looks at them."""
    return pytest.approx(hours, rel=0.05)


def day(ago: int = 0) -> str:
    return (datetime.now(UTC) - timedelta(days=ago)).date().isoformat()


async def test_sums_by_each_dimension(priced: Replica, redis: Redis) -> None:
    one = await run(priced, redis, "ann", 1, groups=["lab", "staff"], profile="small", alias="x", tags={"team": "red"})
    two = await run(priced, redis, "ann", 2, groups=["lab"], profile="large", tags={"team": "blue", "urgent": ""})
    await run(priced, redis, "bob", 4, groups=["lab"], profile="small")
    since = day(1)  # it may be shortly after midnight

    async def by(*group_by: int, subject: str = "", **more: Any) -> pb.ListUsageResponse:
        return await ask(priced, "ann", ADMIN, group_by=group_by, subject=subject, start_day=since, **more)

    total = await by()
    assert [row.promised.cluster_seconds / 3600 for row in total.usage] == [pytest.approx(3, rel=0.05)]
    assert total.currency == "EUR"
    assert core_hours((await by(PROFILE)).usage, "profile") == about({"small": 1, "large": 2})
    assert {row.profile: row.promised.cost for row in (await by(PROFILE)).usage} == about({"small": 0.5, "large": 4})
    clusters = await by(CLUSTER)
    assert core_hours(clusters.usage, "cluster") == about({one.name: 1, two.name: 2})
    assert {row.cluster: row.alias for row in clusters.usage} == {one.name: "x", two.name: ""}
    assert core_hours((await by(GROUP)).usage, "group") == about({"groups/lab": 3, "groups/staff": 1})
    assert core_hours((await by(TAG)).usage, "tag") == about({"team=red": 1, "team=blue": 2, "urgent=": 2})
    assert core_hours((await by(TAG, tag_key="urgent")).usage, "tag") == about({"": 3})
    assert core_hours((await by(USER_, subject="-")).usage, "user") == about({"users/ann": 3, "users/bob": 4})
    assert core_hours((await by(USER_, subject="groups/staff")).usage, "user") == about({"users/ann": 1})
    assert core_hours((await by(subject=one.name)).usage, "day") == about({"": 1})
    days = (await by(DAY, PROFILE)).usage
    assert {row.day for row in days} <= {day(0), day(1)}
    assert {row.profile for row in days} == {"small", "large"}
    assert sum(row.promised.core_seconds for row in days) / 3600 == pytest.approx(3, rel=0.05)


async def test_pages_have_each_sum_once(priced: Replica, redis: Redis) -> None:
    made = {(await run(priced, redis, "ann", 1, profile="small")).name for _ in range(5)}
    seen: list[str] = []
    since, page_token = day(1), ""
    while True:
        page = await ask(priced, "ann", group_by=[CLUSTER], start_day=since, page_size=2, page_token=page_token)
        seen += [row.cluster for row in page.usage]
        if not (page_token := page.next_page_token):
            break
    assert seen == sorted(made)


async def test_a_clusters_own_record_says_what_it_has_cost(priced: Replica, redis: Redis) -> None:
    made = await run(priced, redis, "ann", 1, profile="large")
    ann = await priced.user("ann")
    changed = await ann.scale(made.name, 3)
    usage = changed.status.usage
    assert usage.core_seconds == pytest.approx(3600, rel=0.01)
    assert usage.cost == pytest.approx(2, rel=0.01)
    assert (usage.cores, usage.cost_per_hour, usage.currency) == (4, 8, "EUR")
    assert abs(usage.as_of.seconds - datetime.now(UTC).timestamp()) < 60
    assert (await ann.get(made.name)).status.usage == usage


async def test_a_changed_price_reaches_clusters_that_run(
    priced: Replica, redis: Redis, directory: Path, eventually: Eventually
) -> None:
    made = await run(priced, redis, "ann", 1, profile="large")
    ann = await priced.user("ann")
    await ann.until(made.name, "RUNNING")
    (listed,) = (await ann.call("ListClusters", cluster_pb.ListClustersRequest())).clusters
    assert listed.status.usage.cost_per_hour == 2
    (directory / "policy.yaml").write_text(POLICY.replace("core_hour: 2", "core_hour: 7"))

    async def costs_more() -> bool:
        return (await ann.get(made.name)).status.usage.cost_per_hour == 7

    await eventually(costs_more)
    (listed,) = (await ann.call("ListClusters", cluster_pb.ListClustersRequest())).clusters
    assert listed.status.usage.cost_per_hour == 7
    assert listed.status.usage.cost == pytest.approx(2, rel=0.01)


async def test_a_cluster_keeps_its_cost_when_the_store_was_emptied(
    site: Site, directory: Path, redis: Redis, eventually: Eventually
) -> None:
    (directory / "policy.yaml").write_text(POLICY)
    first = await site.replica("a", policy_file=directory / "policy.yaml")
    made = await run(first, redis, "ann", 5, profile="large")
    ann = await first.user("ann")
    await ann.until(made.name, "RUNNING")
    manifests, name = site.machine.kept_manifests, made.name.removeprefix("clusters/")
    before = manifests[name]
    await ann.scale(made.name, 1)
    await eventually(lambda: manifests[name] != before)
    await site.stop(first)
    await empty(redis)
    second = await site.replica("b", policy_file=directory / "policy.yaml")
    again = await second.user("ann")

    async def is_back() -> bool:
        return bool((await again.call("ListClusters", cluster_pb.ListClustersRequest())).clusters)

    await eventually(is_back)
    usage = (await again.get(made.name)).status.usage
    assert usage.cost == pytest.approx(10, rel=0.05)
    assert usage.cores == 2


async def test_who_may_see_whose(priced: Replica, redis: Redis) -> None:
    made = await run(priced, redis, "ann", 1, groups=["lab"], profile="small")
    refused: list[tuple[str, str, type[HeadraceError]]] = [
        ("bob", "users/ann", PermissionDenied),
        ("bob", "groups/lab", PermissionDenied),
        ("bob", "-", PermissionDenied),
        ("bob", made.name, ClusterNotFound),
        ("olga", "groups/staff", PermissionDenied),
        ("olga", "-", PermissionDenied),
        ("bob", "people/ann", InvalidRequest),
        ("bob", "users/", InvalidRequest),
    ]
    for name, subject, error in refused:
        await fails(error, ask(priced, name, subject=subject, groups=["lab"] if name == "bob" else []))
    for name, subject, roles in [
        ("ann", "", [USER]),
        ("ann", made.name, [USER]),
        ("olga", "groups/lab", [USER]),
        ("root", "users/ann", [ADMIN]),
    ]:
        answer = await ask(priced, name, *roles, subject=subject, start_day=day(1))
        assert core_hours(answer.usage, "day") == about({"": 1})
    assert not (await ask(priced, "bob", start_day=day(1))).usage


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"start_day": "yesterday"}, "start_day"),
        ({"end_day": "2026-13-01"}, "end_day"),
        ({"start_day": day(0), "end_day": day(1)}, "end_day"),
        ({"start_day": "1970-01-01"}, "start_day"),
        ({"start_day": "9999-12-31"}, "end_day"),
        ({"start_day": day(100), "group_by": [CLUSTER]}, "start_day"),
        ({"group_by": [DAY, DAY]}, "group_by"),
        ({"group_by": [99]}, "group_by"),
        ({"tag_key": "team"}, "tag_key"),
        ({"page_size": -1}, "page_size"),
        ({"page_token": "x"}, "page_token"),
    ],
)
async def test_wrong_requests_name_the_field(controller: Replica, request_: dict[str, Any], field: str) -> None:
    assert await wrong_fields(ask(controller, "ann", **request_)) == {field}


async def test_sums_by_day_reach_further_back_than_the_details(priced: Replica, redis: Redis) -> None:
    made = await run(priced, redis, "ann", 100 * 24, profile="small", groups=["lab"])
    await (await priced.user("ann")).scale(made.name, 1)
    await redis.delete(*[key async for key in redis.scan_iter("{test}:used-by:*")])  # as if their time were over
    since = day(90)
    own = await ask(priced, "ann", group_by=[DAY], start_day=since, page_size=1000)
    assert len(own.usage) == 91
    assert own.usage[5].promised.core_seconds == 86_400
    whole = sum(row.promised.core_seconds for row in own.usage)
    lab = await ask(priced, "root", ADMIN, subject="groups/lab", start_day=since)
    assert lab.usage[0].promised.core_seconds == pytest.approx(whole, rel=1e-3)
    await run(priced, redis, "bob", 80 * 24, profile="large")  # it runs, so that its sums are not written yet

    async def everybodys(*group_by: int) -> Sequence[pb.UsageRow]:
        answer = await ask(priced, "root", ADMIN, subject="-", group_by=group_by, start_day=since, page_size=1000)
        return cast("Sequence[pb.UsageRow]", answer.usage)

    hours, more = whole / 3600, pytest.approx(80 * 24, rel=1e-3)
    assert core_hours(await everybodys(USER_), "user") == {
        "users/ann": pytest.approx(hours, rel=1e-3),
        "users/bob": more,
    }
    assert core_hours(await everybodys(PROFILE), "profile") == {
        "small": pytest.approx(hours, rel=1e-3),
        "large": more,
    }
    assert core_hours(await everybodys(GROUP), "group") == {"groups/lab": pytest.approx(hours, rel=1e-3)}
    months = await everybodys(MONTH, USER_)
    another = {day()[:7]}  # it may be shortly after midnight
    assert {row.month for row in months} | another == {row.day[:7] for row in own.usage} | another
    assert core_hours(await everybodys(), "day") == {"": pytest.approx(hours + 80 * 24, rel=1e-3)}
    for refused in ([USER_, GROUP], [CLUSTER], [TAG]):
        assert await wrong_fields(everybodys(*refused)) == {"start_day"}


async def test_readings_while_clusters_are_scaled_never_count_twice_or_fall(priced: Replica, redis: Redis) -> None:
    made = await run(priced, redis, "ann", 10, profile="small")
    ann = await priced.user("ann")
    seen: list[float] = []

    async def read() -> None:
        for _ in range(15):
            answer = await ask(priced, "ann", start_day=day(2))
            seen.append(answer.usage[0].promised.cluster_seconds)

    async def scale() -> None:
        for size in range(15):
            await ann.scale(made.name, size)

    await asyncio.gather(read(), scale())
    assert seen == sorted(seen)
    assert seen[-1] - seen[0] < 60
