"""What a scheduler is measured by, and who may read it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import Client, Event, Scheduler, Worker
from tests.client.agent.running import Cluster
from tests.conftest import Eventually
from tornado.httpclient import AsyncHTTPClient

from headrace.agent.dashboard import KEY_HEADER
from headrace.agent.meter import Meter

KEY, DASHBOARD_KEY = "1" * 64 + "," + "2" * 64, "3" * 64


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Measured:
    scheduler: Any
    meter: Meter
    clock: Clock

    def __getitem__(self, name: str) -> float:
        return {metric.name: metric.value for metric in self.meter.metrics()}[f"headrace_scheduler_{name}"]


@pytest.fixture
async def measured() -> AsyncIterator[Measured]:
    async with (
        Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0") as scheduler,
        Worker(scheduler.address, nthreads=1, dashboard=False, dashboard_address="127.0.0.1:0"),
    ):
        clock = Clock()
        yield Measured(scheduler, Meter(scheduler, clock), clock)


def _wait() -> None:
    event: Any = Event("release")
    event.wait()


async def test_work_ends_idleness_and_its_end_begins_it_again(measured: Measured, eventually: Eventually) -> None:
    await eventually(measured.scheduler.check_idle)
    measured["idle_seconds"]
    measured.clock.now += 50
    assert measured["idle_seconds"] == 50
    async with Client(measured.scheduler.address, asynchronous=True) as client:
        release: Any = Event("release", client=client)
        future = client.submit(_wait)
        await eventually(lambda: measured["processing_tasks"] == 1)
        for _ in range(2):
            assert measured["idle_seconds"] == measured["inactive_seconds"] == 0
            measured.clock.now += 10
        await release.set()
        await eventually(lambda: future.done() and measured.scheduler.check_idle())
        measured["idle_seconds"]
        measured.clock.now += 7
        assert measured["idle_seconds"] == measured["inactive_seconds"] == 7
        assert (measured["processing_tasks"], measured["held_tasks"]) == (0, 1)
        assert measured["held_bytes"] > 0


async def test_a_client_that_comes_or_leaves_is_activity_and_no_work(
    measured: Measured, eventually: Eventually
) -> None:
    await eventually(measured.scheduler.check_idle)
    measured["idle_seconds"]
    measured.clock.now += 30
    assert measured["clients"] == 0
    async with Client(measured.scheduler.address, asynchronous=True):
        assert measured["clients"] == 1
        assert measured["inactive_seconds"] == 0
        measured.clock.now += 30
        assert measured["inactive_seconds"] == 30
    await eventually(lambda: measured["clients"] == 0)
    assert measured["inactive_seconds"] == 0
    assert measured["idle_seconds"] == 60


def _worker(**metrics: object) -> SimpleNamespace:
    return SimpleNamespace(metrics=metrics, processing=(), has_what=(), nbytes=0)


def _meter(clock: Clock, *workers: SimpleNamespace) -> Measured:
    scheduler: Any = SimpleNamespace(
        workers=dict(enumerate(workers)), queued=(), unrunnable=(), client_comms=(), check_idle=lambda: None
    )
    scheduler.add_plugin = list[object]().append
    return Measured(scheduler, Meter(scheduler, clock), clock)


def test_use_is_added_up_over_time() -> None:
    measured = _meter(Clock(), _worker(cpu=150.0, memory=1000), _worker(cpu=50.0, memory=500))
    assert (measured["worker_cores"], measured["worker_memory_bytes"]) == (2.0, 1500)
    measured.clock.now += 10
    assert measured["uptime_seconds"] == 10
    assert measured["worker_core_seconds_total"] == 20
    assert measured["worker_memory_byte_seconds_total"] == 15_000
    measured.scheduler.workers.clear()
    measured["workers"]
    measured.clock.now += 10
    assert measured["worker_core_seconds_total"] == 20


@pytest.mark.parametrize("nonsense", ["x", None, float("nan"), float("inf"), -5, [1], {"disk": "x"}])
def test_metrics_of_workers_that_are_no_amounts_count_as_nothing(nonsense: object) -> None:
    measured = _meter(Clock(), _worker(cpu=nonsense, memory=nonsense, spilled_bytes=nonsense), _worker())
    assert [measured[f"worker_{name}"] for name in ("cores", "memory_bytes")] == [0, 0]
    assert measured["spilled_bytes"] == 0
    assert _meter(Clock(), _worker(spilled_bytes={"disk": 7}))["spilled_bytes"] == 7


async def test_metrics_are_read_with_their_own_key_and_it_opens_nothing_else(cluster: Cluster) -> None:
    cluster.controller.enrollment.dashboard_key = DASHBOARD_KEY
    cluster.controller.enrollment.metrics_key = KEY
    await cluster.start_scheduler()
    base = f"http://{cluster.controller.state.hellos[0].dashboard_address}"

    async def get(path: str, **headers: str) -> tuple[int, str]:
        answer = await AsyncHTTPClient().fetch(base + path, headers=headers, raise_error=False, request_timeout=60)
        return answer.code, answer.body.decode()

    status, page = await get(f"/metrics/headrace?key={'2' * 64}")
    assert status == 200
    assert "\nheadrace_scheduler_clients 0" in page
    assert page.endswith("# EOF\n")
    assert "dask_scheduler_" in (await get(f"/metrics?key={KEY}"))[1]
    for path in ("/metrics", "/metrics/headrace", f"/metrics/headrace?key={DASHBOARD_KEY}", "/metrics?key=,"):
        assert (await get(path))[0] == 403
    through_gateway = {KEY_HEADER: DASHBOARD_KEY}
    assert "headrace_scheduler_clients" in (await get("/metrics/headrace", **through_gateway))[1]
    for path in ("/health", "/status", "/sitemap.json", "//metrics"):
        assert (await get(f"{path}?key={KEY}"))[0] == 403
