"""Each process is killed once with a computation running (the table in the design: "When something dies")."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.connections.killing import compute_while_envoy_is_killed
from tests.e2e.running import Running, running, wait_until
from tests.e2e.tasks import slow, wait_for_file

from headrace import Gateway, GatewayCluster, errors


@pytest.fixture(scope="module")
def headrace() -> Iterator[Running]:
    """A headrace for the tests that break it, and that it recovers from; nothing of it may be left at the end."""
    silent = {"HEADRACE_CONTROLLER_SCHEDULER_SILENCE_SECONDS": "0.6"}
    with (
        tempfile.TemporaryDirectory(prefix="hr-e2e-") as name,
        running(Path(name), environment=silent) as headrace,
    ):
        yield headrace


@pytest.fixture
def cluster(gateway: Gateway) -> Iterator[GatewayCluster]:
    with gateway.new_cluster() as cluster:
        cluster.scale(2)
        yield cluster


@pytest.fixture
def client(cluster: GatewayCluster) -> Iterator[Any]:
    with cluster.get_client() as client:
        client.wait_for_workers(2, timeout=60)
        yield client


@pytest.mark.parametrize("part", ["auth", "controller", "proxy", "envoy", "valkey"])
def test_a_killed_part_is_back_and_clusters_compute_on(
    headrace: Running, gateway: Gateway, client: Any, part: str
) -> None:
    futures = client.map(slow, range(60))
    headrace.find(part if part in {"envoy", "valkey"} else f"headrace {part}").kill()
    assert sum(client.gather(futures)) == 1770
    _use_a_new_cluster(gateway)
    wait_until(lambda: f"{part} is back" in headrace.output.read_text(), within=60)
    assert len(gateway.list_clusters()) == 1


def test_no_future_is_lost_with_envoy(headrace: Running, gateway: Gateway) -> None:
    """`make test-connections` kills it 100 times."""
    compute_while_envoy_is_killed(headrace, gateway, kills=5, count=2_000, seconds=0.002)


@pytest.mark.parametrize("words", ["zygote", "fork server"])
def test_without_what_forked_their_processes_clusters_compute_on(
    headrace: Running, gateway: Gateway, client: Any, words: str
) -> None:
    futures = client.map(slow, range(60))
    headrace.find(words).kill()
    assert sum(client.gather(futures)) == 1770
    _use_a_new_cluster(gateway)
    assert len(gateway.list_clusters()) == 1


def test_a_killed_scheduler_fails_its_cluster_with_the_reason(gateway: Gateway, cluster: GatewayCluster) -> None:
    client: Any
    with cluster.get_client() as client:
        pid = client.run_on_scheduler(os.getpid)
    os.kill(pid, 9)
    wait_until(lambda: gateway.get_cluster(cluster.name).status.name == "FAILED", within=60)
    with pytest.raises(errors.GatewayClusterError, match="signal 9"):
        gateway.connect(cluster.name)


def test_a_scheduler_whose_event_loop_is_blocked_is_said_to_be_and_computes_on(
    gateway: Gateway, cluster: GatewayCluster, client: Any, tmp_path: Path
) -> None:
    futures = client.map(slow, range(60))
    released = tmp_path / "released"
    with ThreadPoolExecutor() as pool:
        blocking = pool.submit(client.run_on_scheduler, wait_for_file, str(released))
        try:
            wait_until(lambda: _reachable(gateway, cluster) == ("UNKNOWN", "NotAnswering"))
            assert gateway.get_cluster(cluster.name).status.name == "RUNNING"
        finally:
            released.touch()
        blocking.result(60)
    wait_until(lambda: _reachable(gateway, cluster) == ("TRUE", ""))
    assert sum(client.gather(futures)) == 1770
    told = {event.type: event.message for event in cluster.events()}
    assert "has not answered for 0.6 s" in told["SchedulerUnreachable"]
    assert told["SchedulerReachable"] == "The scheduler answers again."


def test_a_killed_nanny_is_replaced(client: Any) -> None:
    nanny = next(iter(client.run(os.getpid, nanny=True).values()))
    os.kill(nanny, 9)
    client.wait_for_workers(2, timeout=60)
    wait_until(lambda: nanny not in client.run(os.getpid, nanny=True, on_error="ignore").values(), within=60)
    assert client.submit(slow, 2).result(timeout=60) == 2


def _reachable(gateway: Gateway, cluster: GatewayCluster) -> tuple[str, str]:
    [found] = [c for c in gateway.get_cluster(cluster.name).conditions if c.type == "Reachable"]
    return found.status, found.reason


def _use_a_new_cluster(gateway: Gateway) -> None:
    client: Any
    with _create_with_patience(gateway) as cluster, cluster.get_client() as client:
        cluster.scale(1)
        assert client.submit(slow, 8).result(timeout=60) == 8


def _create_with_patience(gateway: Gateway, within: float = 60) -> GatewayCluster:
    end = time.monotonic() + within
    while True:
        try:
            return gateway.new_cluster()
        except errors.GatewayServerError:
            if time.monotonic() > end:
                raise
