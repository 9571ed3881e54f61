"""A real Prometheus as the source of measurements: the suite of all sources, and queries of an administrator's own."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.conftest import Eventually
from tests.controller.builders import running_cluster
from tests.controller.signals.contract import STALE_SECONDS, SignalsContract, World
from tests.controller.signals.pages import Page, key, text
from tests.held_port import held_ports
from tests.prometheus import running
from tests.prometheus.running import TOKEN, Prometheus

from headrace_chassis.metrics_page import metrics_page
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.signals import prometheus as source
from headrace_controller.signals.measured import Measured, NotMeasured, QueryFailed
from headrace_controller.signals.service_discovery import PATH, target_groups
from headrace_controller.signals.source import Target

ALIAS = 'ann\'s "first" {cluster}, ü'


@dataclass
class Site:
    """The list that Prometheus reads is that of the targets."""

    prometheus: Prometheus
    targets: dict[ClusterId, Target] = field(default_factory=dict[ClusterId, Target])
    twins: list[Page] = field(default_factory=list[Page])

    def clusters(self) -> Iterable[Cluster]:
        schedulers = [(target.cluster, target.address) for target in list(self.targets.values())]
        schedulers += [(ClusterId(twin.cluster), twin.address) for twin in self.twins]
        for cluster, address in schedulers:
            report = {"dashboard_address": address}
            yield running_cluster(name=cluster, report=report, spec={"alias": ALIAS, "profile": "small"})


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="hr-prometheus-") as name, held_ports(1) as (port,):
        controller = f"127.0.0.1:{port}"
        directory = Path(name)
        with running.running(directory, controller=controller, services=[controller]) as prometheus:
            made = Site(prometheus)
            pages = {PATH: lambda: target_groups(made.clusters(), key)}
            with metrics_page(controller, directory / "token", pages):
                assert (directory / "token").read_text() == TOKEN
                yield made


@pytest.fixture
async def world(site: Site) -> AsyncIterator[World]:
    site.targets.clear()
    async with AsyncExitStack() as stack:
        made = source.Prometheus(site.prometheus.url, "headrace-schedulers", timeout=10)
        yield World(made, site.targets, stack)


class TestPrometheus(SignalsContract):
    """It passes the suite."""


async def test_series_carry_the_labels_of_the_list(world: World, site: Site) -> None:
    page = await world.page()
    await world.until(lambda: isinstance(world.of(page), Measured))
    # One scrape that fails ends a series until the next.
    [series] = site.prometheus.query(f'last_over_time(headrace_scheduler_clients{{cluster="{page.cluster}"}}[1m])')
    labels = series["metric"]
    assert labels["alias"] == ALIAS
    assert (labels["owner"], labels["profile"], labels["job"]) == ("ann", "small", "headrace-schedulers")
    assert not [name for name in labels if "key" in name]


async def test_of_two_series_the_one_that_lets_less_be_concluded_counts(world: World, site: Site) -> None:
    page = await world.page(text({"idle_seconds": 900, "inactive_seconds": 200, "held_tasks": 1}))
    other = text({"idle_seconds": 300, "inactive_seconds": 800, "clients": 2})

    def both() -> bool:
        found = world.of(page)
        return isinstance(found, Measured) and (found.clients, found.held_tasks) == (2, 1)

    async with Page(page.cluster, other).served() as twin:
        site.twins = [twin]
        await world.until(both)
    site.twins = []
    found = world.of(page)
    assert isinstance(found, Measured)
    assert found.idle_since == pytest.approx(found.time - 300)
    assert found.active == pytest.approx(found.time - 200)


async def test_rules_in_promql_are_answered(world: World, eventually: Eventually) -> None:
    idle, busy = await world.page(text({"idle_seconds": 900})), await world.page()
    query = 'max by (cluster) (headrace_scheduler_idle_seconds{job="headrace-schedulers"} > bool 600)'

    async def answered() -> bool:
        answer = await world.signals.query(query)
        return (answer.get(ClusterId(idle.cluster)), answer.get(ClusterId(busy.cluster))) == (1, 0)

    await eventually(answered)
    none = await world.signals.query("max by (cluster) (0 * headrace_scheduler_idle_seconds / 0)")
    assert none == {}


async def test_one_that_stops_answering_decides_nothing_until_it_is_back(site: Site) -> None:
    site.targets.clear()
    async with AsyncExitStack() as stack:
        impatient = source.Prometheus(site.prometheus.url, "headrace-schedulers", timeout=1)
        world = World(impatient, site.targets, stack)
        page = await world.page(text({"idle_seconds": 900}))
        await world.until(lambda: isinstance(world.of(page), Measured))
        with site.prometheus.suspended():
            before = world.of(page)
            await world.signals.measure()
            assert world.of(page) == before
            world.offset += STALE_SECONDS
            assert isinstance(world.of(page), NotMeasured)
            with pytest.raises(QueryFailed, match="did not answer"):
                await world.signals.query("up")
        await world.until(lambda: isinstance(world.of(page), Measured))


async def test_an_answer_that_is_huge_is_refused(world: World) -> None:
    query = 'label_replace(vector(1), "cluster", "x", "", "")'
    for _ in range(24):  # each doubles the label
        query = f'label_join({query}, "cluster", "", "cluster", "cluster")'
    with pytest.raises(QueryFailed, match="more than"):
        await world.signals.query(query)


@pytest.mark.parametrize(
    ("query", "says"),
    [("max by (", "parse error"), ("1", "instant vector"), ("headrace_scheduler_clients[5m]", "instant vector")],
)
async def test_a_wrong_rule_is_explained(world: World, query: str, says: str) -> None:
    with pytest.raises(QueryFailed, match=says):
        await world.signals.query(query)


async def test_a_slow_rule_is_given_up(world: World, site: Site) -> None:
    impatient = source.Prometheus(site.prometheus.url, "headrace-schedulers", timeout=0.05)
    slow = "sum_over_time(vector(1)[10d:1s])" + " + sum_over_time(vector(1)[10d:1s])" * 20
    with pytest.raises(QueryFailed, match=r"answer|timed out"):
        await impatient.query(f"label_replace({slow}, 'cluster', 'c1', '', '')")
