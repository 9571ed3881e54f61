"""Clocks of nodes that are ten minutes wrong: clusters start and compute, and no time that users see is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kubernetes.faults.clocks import CLOCKS, environment
from tests.kubernetes.faults.restarting import patience, restarted
from tests.kubernetes.faults.seen import MARKS
from tests.kubernetes.faults.system import System
from tests.kubernetes.running import of_recipe, until

from headrace import Gateway

pytestmark = MARKS

START_SECONDS = 30


@pytest.fixture
def in_pods(headrace: System) -> None:
    if not of_recipe(headrace.kubernetes):
        pytest.skip("the library is on this machine, not on the nodes of other clusters")


@pytest.fixture(params=CLOCKS)
def controller_clock(request: pytest.FixtureRequest, headrace: System, clock: Path | None) -> Iterator[str]:
    """The controller's clock is wrong meanwhile."""
    if clock is None:
        pytest.skip("this machine has no gcc")
    wrong = environment(clock, CLOCKS[request.param])
    with restarted(headrace.controller, {**wrong, **patience(START_SECONDS)}):
        yield request.param


@pytest.mark.usefixtures("in_pods")
@pytest.mark.parametrize("profile", CLOCKS)
def test_a_cluster_whose_scheduler_and_workers_differ_by_twenty_minutes_computes(
    gateway: Gateway, profile: str
) -> None:
    began = time.time()
    with gateway.new_cluster(profile=profile) as cluster, cluster.get_client() as client:
        cluster.scale(1)
        client.wait_for_workers(1, timeout=120)
        skew = client.submit(time.time).result(timeout=60) - time.time()
        assert abs(skew + CLOCKS[profile]) < 60, "its clock is not wrong"
        times = [event.time.timestamp() for event in gateway.events(cluster.name)]
        assert times == sorted(times)
        assert all(began - 1 < each < time.time() + 1 for each in times)


def test_a_controller_whose_clock_is_wrong_starts_clusters(gateway: Gateway, controller_clock: str) -> None:
    with gateway.new_cluster() as cluster, cluster.get_client() as client:
        cluster.scale(1)
        client.wait_for_workers(1, timeout=120)
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3
        last = list(gateway.events(cluster.name))[-1].time.timestamp()
        assert abs(last - time.time() - CLOCKS[controller_clock]) < 60, "its clock is not wrong"


@pytest.mark.usefixtures("controller_clock")
def test_a_worker_that_does_not_join_is_given_up_in_time_whatever_its_nodes_clock_says(
    headrace: System, gateway: Gateway
) -> None:
    with gateway.new_cluster() as cluster, headrace.without("tokenreviews", "create"):
        cluster.scale(1)
        late = f"It did not join the scheduler within {START_SECONDS} s."
        until(lambda: any(worker.message == late for worker in cluster.workers()), "the worker is given up", within=120)
