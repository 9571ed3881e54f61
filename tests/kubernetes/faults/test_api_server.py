"""The API server is away: clusters compute on, and new ones wait for it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from tests.kubernetes.faults.restarting import patience, restarted
from tests.kubernetes.faults.seen import MARKS, runs, startable, told
from tests.kubernetes.faults.system import System
from tests.kubernetes.running import until

from headrace import Gateway, GatewayCluster

pytestmark = MARKS

SILENT = "the Kubernetes API server does not answer"
START_SECONDS, AWAY_SECONDS = 30, 60


def test_while_it_is_away_clusters_compute_on_and_new_ones_wait(
    headrace: System, gateway: Gateway, cluster: GatewayCluster
) -> None:
    ending = gateway.new_cluster(shutdown_on_close=False)
    cluster.scale(1)
    with cluster.get_client() as client:
        client.wait_for_workers(1, timeout=120)
        before = headrace.ever(cluster.name)
        with headrace.api.away():
            waiting = gateway.submit()
            gateway.stop_cluster(ending.name)
            cluster.scale(2)
            for name in (waiting, cluster.name):
                until(
                    lambda name=name: SILENT in startable(gateway, name),
                    f"{name} says what it waits for",
                )
            assert startable(gateway, waiting).startswith("The scheduler cannot be started: pod dask-")
            assert "does not answer" in told(gateway, waiting)["BackendFailed"]
            assert client.submit(sum, [1, 2]).result(timeout=60) == 3
            assert runs(gateway, cluster.name)
        until(lambda: runs(gateway, waiting), "the new one runs", within=120)
        client.wait_for_workers(2, timeout=120)
        assert startable(gateway, waiting) == ""
        until(lambda: not headrace.pods(ending.name), "what was stopped meanwhile has ended")
        assert before < headrace.ever(cluster.name)
    assert len(headrace.ever(waiting)) == 1
    assert len(headrace.ever(cluster.name)) == 1 + 2


@pytest.fixture
def impatient(headrace: System) -> Iterator[None]:
    """Starts have less time meanwhile than the API server is away."""
    with restarted(headrace.controller, patience(START_SECONDS)):
        yield


@pytest.mark.usefixtures("impatient")
def test_an_absence_that_is_longer_than_a_start_may_take_fails_nothing(
    headrace: System, gateway: Gateway, cluster: GatewayCluster
) -> None:
    cluster.scale(1)
    with cluster.get_client() as client, ExitStack() as before:
        client.wait_for_workers(1, timeout=120)
        before.enter_context(headrace.without("tokenreviews", "create"))  # so that nothing new can enrol
        starting = gateway.submit()
        cluster.scale(2)
        until(lambda: _run(headrace.pods(cluster.name, "worker")) == 2, "the process of the second worker runs")
        until(lambda: _known_to_run(cluster) == 2, "the controller has heard of it")
        until(lambda: _says(gateway, starting, "The scheduler's process runs."), "the process of a scheduler runs")
        with headrace.api.away():
            since = time.monotonic()
            before.close()
            waiting = gateway.submit()
            for name in (starting, waiting):
                until(lambda name=name: _says(gateway, name, SILENT), f"{name} says what it waits for")
            assert _says(gateway, waiting, "The scheduler cannot be started: pod dask-")
            assert _says(gateway, waiting, "It is tried again until ")
            assert _says(gateway, starting, "The scheduler's process runs. Waiting for it to report. Nothing is heard")
            waits = f"wait for its platform to answer: {SILENT}"
            until(lambda: waits in told(gateway, cluster.name).get("Waiting", ""), "the worker is said to wait")
            assert told(gateway, starting)["Waiting"].startswith("The scheduler waits for its platform to answer: ")
            until(lambda: time.monotonic() > since + AWAY_SECONDS, "it was away for long enough", within=120)
            assert client.submit(sum, [1, 2]).result(timeout=60) == 3
            assert not any(gateway.get_cluster(name).status.name == "FAILED" for name in (starting, waiting))
        for name in (starting, waiting):
            until(lambda name=name: runs(gateway, name), f"{name} runs", within=120)
            assert len(headrace.ever(name)) == 1
        client.wait_for_workers(2, timeout=120)
        assert runs(gateway, cluster.name)
    assert len(headrace.ever(cluster.name)) == 1 + 2, "a worker was given up"


def _run(pods: Sequence[dict[str, Any]]) -> int:
    return sum(pod["status"].get("phase") == "Running" for pod in pods)


def _known_to_run(cluster: GatewayCluster) -> int:
    return sum(bool(worker.host) and not worker.wait_reason for worker in cluster.workers())


def _says(gateway: Gateway, cluster: str, sentence: str) -> bool:
    return sentence in gateway.get_cluster(cluster).message
