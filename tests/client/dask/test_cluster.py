"""GatewayCluster: its start, its use and its end, used plainly and in coroutines."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from distributed import Client
from distributed.core import Status
from distributed.deploy.cluster import Cluster
from tests.client.conftest import AsyncGateway
from tests.client.fake_headrace import FakeHeadrace
from tests.conftest import Eventually
from tests.e2e.running import wait_until

from headrace import ClusterStatus, Gateway, GatewayCluster, GatewayWarning, errors
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb


def test_a_cluster_is_one_of_dasks(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        assert isinstance(cluster, GatewayCluster)
        assert isinstance(cluster, Cluster)
        assert cluster.status == Status.running
        assert cluster.scheduler_address == f"{gateway.proxy_address}/{cluster.name}"
        assert repr(cluster) == f"GatewayCluster<{cluster.name}, running, workers=0, threads=0>"
    assert cluster.status == Status.closed


def test_it_computes(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster, cluster.get_client() as client:
        cluster.scale(2)
        client.wait_for_workers(2, timeout=60)
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3
        # The stream of changes begins with the workers that were there when it was asked for, and then brings the rest.
        wait_until(lambda: len(cluster.scheduler_info["workers"]) == 2 and "workers=2" in repr(cluster))
        cluster.scale(1)


def test_it_shows_how_many_workers_wait_for_room(gateway: Gateway, fake: FakeHeadrace) -> None:
    with gateway.new_cluster() as cluster:
        fake.clusters[cluster.name].room = 1
        sentence = f"cluster {cluster.name} gets 1 of 3 workers in group 'default' now; the others wait for room"
        with pytest.warns(GatewayWarning, match=sentence):
            cluster.scale(3)
        assert "waiting=2" in repr(cluster)
        assert "(2 more wait for room)" in cluster._scaling_status()  # pyright: ignore[reportPrivateUsage]
        fake.clusters[cluster.name].room = 3
        cluster.scale(3)
        assert "waiting" not in repr(cluster)


def test_without_arguments_as_dask_gateway_has_it(configured: None, fake: FakeHeadrace) -> None:
    with GatewayCluster(worker_cores=4) as cluster:
        assert fake.clusters[cluster.name].record.spec.options["worker_cores"].int_value == 4
        with GatewayCluster.from_name(cluster.name) as same:
            assert same.name == cluster.name
        assert cluster.report().status is ClusterStatus.RUNNING
    with cluster.gateway as gateway:
        assert repr(gateway)


def test_a_name_gets_or_creates_and_only_the_creator_ends(fake: FakeHeadrace, gateway: Gateway) -> None:
    with gateway.new_cluster(name="mine") as first:
        with gateway.new_cluster(name="mine") as second:
            assert second.name == first.name
        assert not fake.clusters[first.name].record.spec.stop
        assert gateway.connect("mine").name == first.name
    assert fake.clusters[first.name].record.spec.stop


def test_of_two_notebooks_that_start_it_at_once_only_the_creator_ends_it(
    fake: FakeHeadrace, gateway: Gateway, configured: None
) -> None:
    """Both see it STARTING."""
    fake.starts = False
    with Gateway() as other, ThreadPoolExecutor() as pool:
        futures = [pool.submit(one.new_cluster, name="analysis") for one in (gateway, other)]
        while fake.calls.count("WatchClusters") < 2:
            time.sleep(0.01)
        [record] = fake.clusters.values()
        assert record.record.status.phase == cluster_pb2.PHASE_STARTING
        fake.run(record)
        creator, finder = sorted((future.result(30) for future in futures), key=lambda one: not one.shutdown_on_close)
    assert creator.name == finder.name
    assert (creator.shutdown_on_close, finder.shutdown_on_close) == (True, False)
    finder.close()
    assert not record.record.spec.stop
    creator.close()
    assert record.record.spec.stop


async def test_of_two_coroutines_that_start_it_at_once_only_the_creator_ends_it(
    fake: FakeHeadrace, agateway: AsyncGateway
) -> None:
    one, other = await asyncio.gather(*(agateway.new_cluster(name="analysis") for _ in range(2)))
    creator, finder = (one, other) if one.shutdown_on_close else (other, one)
    assert (creator.shutdown_on_close, finder.shutdown_on_close) == (True, False)
    await finder.close()
    assert not fake.clusters[creator.name].record.spec.stop
    await creator.close()
    assert fake.clusters[creator.name].record.spec.stop


def test_a_start_that_fails_stops_no_cluster_of_another(fake: FakeHeadrace, gateway: Gateway) -> None:
    fake.starts = False
    name = gateway.submit(name="mine")
    for shutdown_on_close in (None, True):
        with pytest.raises(errors.DeadlineExceeded):
            gateway.new_cluster(name="mine", timeout="100ms", shutdown_on_close=shutdown_on_close)
    assert not fake.clusters[name].record.spec.stop


def test_a_client_by_hand(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster, Client(cluster) as client:
        assert client.cluster is cluster
    with (
        gateway.new_cluster() as cluster,
        Client(cluster.scheduler_address, security=cluster.security) as client,
    ):
        assert client.scheduler_info()["type"] == "Scheduler"


def test_a_report_is_no_older_than_what_was_seen(fake: FakeHeadrace, gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        record = fake.clusters[cluster.name].record
        cluster.report()
        cluster.scale(1)
        version = record.resource_version
        cluster.report()
        gateway.get_cluster(cluster.name)
    versions = [request.resource_version for request in fake.requests_of(pb.GetClusterRequest)]
    assert len(set(versions)) == 3
    assert versions[1:] == [version, ""]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What workers wait for is asked for as long as a busy machine needs."""
    monkeypatch.setattr("headrace._dask.missing_workers._SECONDS", 60.0)


@pytest.mark.usefixtures("patient")
def test_waiting_for_workers_ends(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster, cluster.get_client() as client:
        with pytest.raises(
            TimeoutError, match=r"only 0 of 1 workers arrived within 0\.1 s; the cluster is scaled to 0$"
        ):
            client.wait_for_workers(1, timeout=0.1)
        cluster.scale(1)
        cluster.wait_for_workers(1)


@pytest.mark.usefixtures("patient")
def test_an_error_of_missing_workers_says_what_they_wait_for(fake: FakeHeadrace, gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        fake.clusters[cluster.name].waits_for = "0/4 nodes are available"
        cluster.scale(2)
        expected = "only 0 of 2 workers arrived within 0.1 s; 2 have not joined, such as default-0-abcdef: 0/4 nodes"
        with pytest.raises(TimeoutError, match=expected):
            cluster.wait_for_workers(2, timeout=0.1)


@pytest.mark.usefixtures("patient")
async def test_an_error_of_missing_workers_says_which_are_paused(
    fake: FakeHeadrace, agateway: AsyncGateway, eventually: Eventually
) -> None:
    async with agateway.new_cluster() as cluster:
        await cluster.scale(1)
        await cluster.wait_for_workers(1)
        [worker] = fake.clusters[cluster.name].workers
        worker.memory_manager.memory_pause_fraction = False  # Dask would resume it
        worker.loop.add_callback(setattr, worker, "status", Status.paused)
        scheduler = fake.clusters[cluster.name].scheduler
        await eventually(lambda: scheduler.workers[worker.address].status is Status.paused)
        with pytest.raises(TimeoutError, match=f"only 0 of 2 .*; {worker.address} has joined and is paused"):
            await cluster.wait_for_workers(2, timeout=2)


def test_logs_events_and_workers(gateway: Gateway) -> None:
    with gateway.new_cluster(worker_groups={"default": 1}) as cluster:
        assert list(cluster.logs()) == ["scheduler", "default-0-abcdef"]
        assert cluster.logs("scheduler", tail=1)["scheduler"] == "scheduler line 2\n"
        assert list(cluster.follow_logs("scheduler"))[-1] == ("scheduler", "later\n")
        assert cluster.events()[0].message == "the scheduler is being started"
        assert [worker.group for worker in cluster.workers()] == ["default"]
        assert set(_logs(cluster)) > {"Cluster", "Scheduler"}


def test_a_wrong_argument_leaves_no_thread(gateway: Gateway) -> None:
    loop: Any = gateway.loop
    with pytest.raises(errors.InvalidRequest, match="timeout: "):
        gateway.new_cluster(timeout="soon")
    gateway.close()
    assert not loop.asyncio_loop.is_running()


def test_a_failure_is_told_with_reason_and_log(fake: FakeHeadrace, gateway: Gateway) -> None:
    fake.start_failure = errors.ClusterFailed(
        "the start command ended with exit code 3", {"reason": "BACKEND_ERROR"}, log_tail="cannot find libmissing.so\n"
    )
    with pytest.raises(errors.ClusterFailed, match=r"exit code 3(.|\n)*libmissing") as raised:
        gateway.new_cluster()
    assert raised.value.reason == "BACKEND_ERROR"
    with pytest.raises(errors.GatewayClusterError):
        gateway.new_cluster()


def test_a_cluster_that_is_stopped_meanwhile(fake: FakeHeadrace, gateway: Gateway) -> None:
    fake.starts = False

    def stop() -> None:
        wait_until(lambda: "WatchClusters" in fake.calls)
        gateway.stop_all()

    with ThreadPoolExecutor() as pool:
        stopping = pool.submit(stop)
        with pytest.raises(errors.ClusterEnded, match="was stopped while it started"):
            gateway.new_cluster()
        stopping.result(30)


def test_one_that_has_ended_cannot_be_connected_to(gateway: Gateway) -> None:
    name = gateway.submit()
    gateway.stop_cluster(name)
    with pytest.raises(errors.GatewayClusterError, match=f"cluster {name} has ended"):
        gateway.connect(name)


def test_one_that_does_not_start_in_time_is_stopped(fake: FakeHeadrace, gateway: Gateway) -> None:
    fake.starts = False
    with pytest.raises(errors.DeadlineExceeded, match=r"does not run after 0\.2 s.*timeout="):
        gateway.new_cluster(timeout="200ms")
    (cluster,) = fake.clusters.values()
    assert cluster.record.spec.stop


def test_a_refused_creation_starts_nothing(fake: FakeHeadrace, gateway: Gateway) -> None:
    fake.fail("CreateCluster", errors.QuotaExceeded.of(subject="users/ann", what="clusters", limit=1, used=1, asked=1))
    with pytest.raises(errors.QuotaExceeded):
        gateway.new_cluster()
    assert fake.clusters == {}


def test_a_lost_answer_makes_no_second_cluster(fake: FakeHeadrace, gateway: Gateway) -> None:
    fake.fail("CreateCluster", errors.Draining("going"))
    fake.fail("WatchClusters", errors.Draining("going"))
    with gateway.new_cluster() as cluster:
        assert list(fake.clusters) == [cluster.name]


async def test_the_asynchronous_face(fake: FakeHeadrace, agateway: AsyncGateway, eventually: Eventually) -> None:
    async with agateway.new_cluster() as cluster:
        assert cluster.status == Status.running
        await cluster.scale(2)
        async with cluster.get_client() as client:
            await cast("Any", client).wait_for_workers(2, timeout=60)
            assert await client.submit(sum, [1, 2]) == 3
        await cluster.adapt(maximum=2)
        assert "scheduler" in await cluster.logs()
        assert (await cluster.events())[0].type == "SchedulerStarting"
        assert len(await cluster.workers()) == 2
        assert (await cluster.report()).status is ClusterStatus.RUNNING
        assert "link=signed" in cluster.dashboard_link
    assert fake.clusters[cluster.name].record.spec.stop
    assert cluster.status == Status.closed
    await cluster.close()


async def test_a_client_starts_a_cluster_that_was_not_awaited(agateway: AsyncGateway) -> None:
    cluster = agateway.new_cluster()
    assert cluster.status == Status.created
    async with Client(cluster, asynchronous=True) as client:
        assert _address(client) == cluster.scheduler_address
    await cluster.close()


async def test_constructor_and_from_name(configured: None, fake: FakeHeadrace) -> None:
    cluster = await GatewayCluster(asynchronous=True)
    same = await GatewayCluster.from_name(cluster.name, asynchronous=True)
    await same.close()
    assert not fake.clusters[cluster.name].record.spec.stop
    await cluster.shutdown()
    assert fake.clusters[cluster.name].record.spec.stop
    with pytest.raises(TypeError, match="async with"), GatewayCluster(asynchronous=True):
        pass


async def test_a_failure_in_the_other_face(fake: FakeHeadrace, agateway: AsyncGateway) -> None:
    fake.start_failure = errors.ClusterFailed("no node has room", {"reason": "START_TIMEOUT"})
    with pytest.raises(errors.ClusterFailed, match="no node has room"):
        await agateway.new_cluster()
    (cluster,) = fake.clusters.values()
    assert cluster.record.status.phase == cluster_pb2.PHASE_FAILED


def _logs(cluster: Any) -> dict[str, str]:
    return cluster.get_logs()


def _address(client: Any) -> str:
    return client.scheduler.address
