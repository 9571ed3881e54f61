"""What a user does on a running system, each way to the scheduler."""

from __future__ import annotations

import asyncio
import ssl
import urllib.error
import urllib.request
from importlib.metadata import version
from typing import Any, cast

import dask.array as da
import pytest
from distributed import Client
from tests.e2e.running import Running, wait_until
from tests.e2e.tasks import die, gathered, slow

from headrace import Gateway, GatewayCluster


def test_a_cluster_computes_and_is_gone_afterwards(gateway: Gateway, headrace: Running, way: str) -> None:
    with gateway.new_cluster() as cluster:
        cluster.scale(2)
        with cluster.get_client() as client:
            client.wait_for_workers(2, timeout=60)
            peer: str = cast("Any", client.scheduler_comm).comm.peer_address
            assert (str(headrace.port) in peer) == (way == "proxied")
            x = da.random.random((400, 400), chunks=(100, 100))
            assert 0.4 < float((x + x.T).mean().compute()) / 2 < 0.6
        name = cluster.name
    wait_until(lambda: name not in [report.name for report in gateway.list_clusters()])


def test_adaptive_scaling_goes_up_and_down(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster, cluster.get_client() as client:
        cluster.adapt(minimum=0, maximum=3)
        futures = client.map(slow, range(40))
        assert sum(gathered(client, futures)) == 780
        del futures
        wait_until(lambda: not client.scheduler_info()["workers"], within=60)


def test_scaling_down_keeps_the_data(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster, cluster.get_client() as client:
        cluster.scale(3)
        client.wait_for_workers(3, timeout=60)
        futures = client.map(slow, range(30))
        client.gather(futures)
        cluster.scale(1)
        wait_until(lambda: len(client.scheduler_info()["workers"]) == 1, within=60)
        assert sum(gathered(client, futures)) == 435
        assert all(future.done() for future in futures)


def test_worker_groups_have_shapes_of_their_own(gateway: Gateway) -> None:
    groups = [{"name": "small", "size": 1}, {"name": "big", "size": 1, "options": {"worker_threads": 3}}]
    with gateway.new_cluster(worker_groups=groups) as cluster, cluster.get_client() as client:
        client.wait_for_workers(2, timeout=60)
        threads = {info["name"].split("-")[0]: info["nthreads"] for info in client.scheduler_info()["workers"].values()}
        assert threads["big"] == 3
        cluster.scale(2, group="small")
        client.wait_for_workers(3, timeout=60)


def test_restart_and_a_killed_worker(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster, cluster.get_client() as client:
        cluster.scale(2)
        client.wait_for_workers(2, timeout=60)
        client.restart(timeout=60)
        assert client.submit(slow, 3).result(timeout=60) == 3
        client.submit(die, retries=0)
        assert client.submit(slow, 4).result(timeout=60) == 4
        client.wait_for_workers(2, timeout=60)


def test_logs_and_events_also_after_the_end(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        name = cluster.name
        assert "Scheduler at" in str(cluster.logs("scheduler"))
    assert "Scheduler at" in str(gateway.logs(name, "scheduler"))
    wait_until(lambda: {"Running", "Stopped"} <= {event.type for event in gateway.events(name)})


def test_the_dashboard_opens_with_its_link_and_not_without(gateway: Gateway, headrace: Running) -> None:
    context = ssl.create_default_context(cafile=headrace.gateway_file["ca_file"])
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=context), urllib.request.HTTPCookieProcessor()
    )
    with gateway.new_cluster() as cluster:
        with opener.open(cluster.dashboard_link, timeout=60) as page:
            assert b"Bokeh" in page.read()
        bare = cluster.dashboard_link.partition("?")[0]
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(bare, context=context, timeout=60)
        assert refused.value.code == 401
        refused.value.close()


def test_a_name_gets_or_creates(gateway: Gateway) -> None:
    with gateway.new_cluster(name="mine") as first:
        again = gateway.new_cluster(name="mine", shutdown_on_close=False)
        assert again.name == first.name
        again.close()


def test_a_start_command_that_fails_is_explained(gateway: Gateway) -> None:
    with pytest.raises(Exception, match="libmissing") as raised:
        gateway.new_cluster(start_command=["sh", "-c", "echo cannot find libmissing.so >&2; exit 3"])
    assert "3" in str(raised.value)


def test_two_users_side_by_side(headrace: Running) -> None:
    from tests.e2e.conftest import USERS

    address, ca = headrace.gateway_file["address"], headrace.gateway_file["ca_file"]
    ann, bob = (Gateway(address, auth=_basic(user, password), tls_ca_file=ca) for user, password in USERS.items())
    with ann, bob, ann.new_cluster() as cluster:
        assert [report.name for report in ann.list_clusters()] == [cluster.name]
        assert bob.list_clusters() == []
        for forbidden in (bob.connect, bob.stop_cluster, bob.get_cluster):
            with pytest.raises(ValueError, match=cluster.name):
                forbidden(cluster.name)
        with cluster.get_client() as client:
            assert isinstance(client, Client)


def test_the_server_tells_its_version_through_envoy(gateway: Gateway) -> None:
    async def ask() -> object:
        async with Gateway(asynchronous=True) as own:
            return await own.get_versions()

    versions = {"server": {"version": version("headrace-auth")}, "client": {"version": version("headrace")}}
    assert gateway.get_versions() == versions
    assert asyncio.run(ask()) == versions


def test_the_asynchronous_face(gateway: Gateway) -> None:
    async def compute() -> int:
        async with Gateway(asynchronous=True) as own, await own.new_cluster() as cluster:
            assert isinstance(cluster, GatewayCluster)
            await cluster.scale(1)
            async with await cluster.get_client() as client:
                return await client.submit(slow, 5)

    assert asyncio.run(compute()) == 5


def _basic(user: str, password: str):
    from headrace import BasicAuth

    return BasicAuth(user, password)
