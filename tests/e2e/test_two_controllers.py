"""Two controllers work as one, and one of them goes on when the other is killed."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from tests.e2e.running import wait_until
from tests.e2e.tasks import gathered, slow, wait_for_file
from tests.e2e.two_controllers import CLUSTERS_LIMIT, Replica, TwoControllers, two_controllers

from headrace import Gateway, GatewayCluster
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.redis.leases import SHARDS

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def running(redis_url: str) -> Iterator[TwoControllers]:
    with (
        tempfile.TemporaryDirectory(prefix="hr-two-") as directory,
        two_controllers(Path(directory), redis_url) as running,
    ):
        yield running


@pytest.fixture
def controllers(running: TwoControllers) -> Iterator[TwoControllers]:
    """Both, also for the next test; whatever became of them, usage is counted right."""
    yield running
    running.until_both_work()
    wait_until(lambda: not running.usage_differs())


@pytest.fixture
def gateway(controllers: TwoControllers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(controllers.layout.data))
    with Gateway() as gateway:
        yield gateway


def test_both_answer_about_the_same_cluster(controllers: TwoControllers) -> None:
    a, b = controllers.first, controllers.second
    name = create(a)
    assert b.call("GetCluster", pb.GetClusterRequest(name=name)).name == name
    b.call("ScaleCluster", pb.ScaleClusterRequest(name=name, size=1))
    assert until(a, name, "RUNNING", workers=1).generation == 2
    assert until(b, name, "RUNNING", workers=1).spec.worker_groups[0].size == 1
    logs = b"".join(piece.lines for piece in b.call("ReadLogs", pb.ReadLogsRequest(name=name, process="scheduler")))
    assert b"Scheduler at" in logs
    b.call("StopCluster", pb.StopClusterRequest(name=name))
    until_stopped(a, name)
    assert controllers.processes(name.removeprefix("clusters/")) == set()


def test_when_the_one_in_charge_is_killed_the_other_goes_on(
    controllers: TwoControllers, gateway: Gateway, tmp_path: Path
) -> None:
    a, b = controllers.first, controllers.second
    client: Any
    with cluster_of(a, controllers, gateway) as cluster, cluster.get_client() as client:
        name = f"clusters/{cluster.name}"
        cluster.scale(2)
        client.wait_for_workers(2, timeout=60)
        before = controllers.processes(cluster.name)
        last = client.submit(wait_for_file, str(tmp_path / "released"))
        futures = client.map(slow, range(160))
        cluster.scale(3)  # promised by the one that dies over it
        a.service.end(signal.SIGKILL)
        assert not last.done()
        (tmp_path / "released").touch()

        wait_until(lambda: controllers.shares() == {"b": SHARDS})
        until(b, name, "RUNNING", workers=3)  # as the agent tells the other one
        assert sum(gathered(client, futures)) == sum(range(160))
        assert before < controllers.processes(cluster.name)
        assert len(controllers.ever_started(cluster.name)) == 1 + 3

        cluster.scale(1)
        wait_until(lambda: len(client.scheduler_info()["workers"]) == 1)
        assert sum(gathered(client, futures)) == sum(range(160))  # their data was moved
        cluster.scale(2)
        client.wait_for_workers(2, timeout=60)
        assert len(controllers.ever_started(cluster.name)) == 1 + 4
    until_stopped(b, name)
    assert controllers.processes(cluster.name) == set()


def test_one_that_was_suspended_past_its_leases_starts_and_overwrites_nothing(
    controllers: TwoControllers, gateway: Gateway
) -> None:
    a, b = controllers.first, controllers.second
    client: Any
    with cluster_of(a, controllers, gateway) as cluster, cluster.get_client() as client:
        name = f"clusters/{cluster.name}"
        cluster.scale(1)
        client.wait_for_workers(1, timeout=60)
        futures = client.map(slow, range(200))
        a.call("ScaleCluster", pb.ScaleClusterRequest(name=name, size=3))  # it has just begun to launch two more
        with a.service.suspended():
            wait_until(lambda: controllers.shares() == {"b": SHARDS})
            wait_until(lambda: len(controllers.processes(cluster.name)) == 1 + 3)
        controllers.until_both_work()
        client.wait_for_workers(3, timeout=60)
        assert [until(replica, name, "RUNNING", workers=3).generation for replica in (a, b)] == [3, 3]
        assert len(controllers.ever_started(cluster.name)) == 1 + 3
        assert len(controllers.processes(cluster.name)) == 1 + 3
        assert sum(gathered(client, futures)) == sum(range(200))
    until_stopped(b, name)
    assert controllers.processes(cluster.name) == set()


def test_a_limit_holds_when_both_are_asked_at_once(controllers: TwoControllers) -> None:
    with ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(try_to_create, [controllers.first, controllers.second] * 12))
    names = [answer for answer in answers if isinstance(answer, str)]
    refused = [answer for answer in answers if not isinstance(answer, str)]
    assert len(set(names)) == CLUSTERS_LIMIT
    assert refused == [grpc.StatusCode.RESOURCE_EXHAUSTED] * (24 - CLUSTERS_LIMIT)
    for name in names:
        until(controllers.first, name, "RUNNING")
    controllers.second.call("BatchStopClusters", pb.BatchStopClustersRequest(filter=pb.ClusterFilter()))
    for name in names:
        until_stopped(controllers.first, name)
        assert controllers.processes(name.removeprefix("clusters/")) == set()


def create(replica: Replica) -> str:
    return replica.call("CreateCluster", pb.CreateClusterRequest()).name


def try_to_create(replica: Replica) -> str | grpc.StatusCode:
    try:
        return create(replica)
    except grpc.RpcError as error:
        return cast("grpc.Call", error).code()


def cluster_of(replica: Replica, controllers: TwoControllers, gateway: Gateway) -> GatewayCluster:
    """A new cluster that the replica reconciles; which one that is, its random name decides."""
    while True:
        cluster = gateway.new_cluster()
        if controllers.holder(cluster.name) == replica.name:
            return cluster
        cluster.shutdown()


def until(replica: Replica, name: str, phase: str, *, workers: int | None = None) -> cluster_pb2.Cluster:
    """Watches a cluster until it is in the phase, with so many workers."""
    wanted = cluster_pb2.Phase.Value(f"PHASE_{phase}")
    steps = replica.call("WatchClusters", pb.WatchClustersRequest(name=name))
    for step in steps:
        counted = sum(group.running for group in step.cluster.status.worker_groups)
        if step.cluster.status.phase == wanted and workers in {None, counted}:
            steps.cancel()
            return step.cluster
    raise AssertionError("the watch has ended")


def until_stopped(replica: Replica, name: str) -> None:
    """Watches a cluster until it has stopped; its record is deleted soon afterwards."""
    try:
        until(replica, name, "STOPPED")
    except grpc.RpcError as error:
        if cast("grpc.Call", error).code() is not grpc.StatusCode.NOT_FOUND:
            raise
