"""A Gateway itself: how it is made, asked plainly and in coroutines, and closed."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import dask.config
import pytest
from tests.client.conftest import AsyncGateway
from tests.client.fake_headrace import FakeHeadrace
from tests.conftest import Eventually

from headrace import (
    BasicAuth,
    ClusterStatus,
    Gateway,
    GatewayCluster,
    GatewayServerError,
    __version__,
)


@pytest.fixture
def own(fake: FakeHeadrace) -> Callable[..., Gateway]:
    """Makes Gateways without any configuration."""

    def make(**kwargs: Any) -> Gateway:
        return Gateway(fake.address, fake.proxy.port, tls_ca_file=str(fake.ca_file), **kwargs)

    return make


def test_arguments_will_do_without_configuration(own: Callable[..., Gateway]) -> None:
    with own(auth=BasicAuth("carol", "carol sesame")) as gateway:
        assert gateway.whoami().name == "carol"


def test_attributes(fake: FakeHeadrace, gateway: Gateway) -> None:
    assert gateway.address == fake.address == gateway.public_address
    assert gateway.proxy_address == f"gateway://127.0.0.1:{fake.proxy.port}"
    assert repr(gateway) == f"Gateway<{fake.address}>"
    assert not gateway.asynchronous


def test_submit_and_list(gateway: Gateway, bob: Gateway) -> None:
    first, second = gateway.submit(), gateway.submit(worker_cores=4)
    assert [report.name for report in gateway.list_clusters()] == [second, first]
    assert bob.list_clusters() == []


def test_names_of_ones_own(gateway: Gateway) -> None:
    name = gateway.submit(name="mine")
    assert gateway.submit(name="mine") == name
    assert gateway.get_cluster("mine").name == name
    gateway.scale_cluster("mine", 3)
    assert len(gateway.workers("mine")) == 3
    gateway.stop_cluster("mine")
    assert gateway.submit(name="mine") != name


def test_who_and_which_versions(gateway: Gateway) -> None:
    user = gateway.whoami()
    assert (user.name, user.groups, user.roles) == ("ann", ("people",), ("user",))
    assert gateway.get_versions() == {"server": {"version": "0.1.0"}, "client": {"version": __version__}}


def test_what_the_server_offers(configured: None) -> None:
    with dask.config.set({"headrace.auth.kwargs": {"token": "a wrong one"}}), Gateway() as gateway:
        info = gateway.server_info()
    assert [(one.method, one.credential) for one in info.login_methods] == [
        ("api-token", "token"),
        ("password", "password"),
    ]
    assert info.features == {"api_tokens", "dashboard_links"}


def test_a_closed_gateway_says_so(configured: None) -> None:
    gateway = Gateway()
    gateway.close()
    gateway.close()
    with pytest.raises((GatewayServerError, RuntimeError)):
        gateway.whoami()


def test_clusters_outlive_the_gateway_that_made_them(configured: None) -> None:
    with Gateway() as gateway:
        cluster = gateway.new_cluster()
    with cluster:
        assert cluster.report().status is ClusterStatus.RUNNING


def test_gateways_share_thread_and_connection_and_leave_nothing(configured: None) -> None:
    before = _io_loops()
    gateways = [Gateway() for _ in range(5)]
    assert len({gateway.loop for gateway in gateways}) == 1
    assert {gateway.whoami().name for gateway in gateways} == {"ann"}
    for gateway in gateways:
        gateway.close()
    assert not _io_loops() - before


def test_a_gateway_without_references_closes_itself(configured: None) -> None:
    gateway = Gateway()
    loop: Any = gateway.loop
    gateway.whoami()
    del gateway
    gc.collect()
    assert not loop.asyncio_loop.is_running()


async def test_a_plain_gateway_works_inside_a_running_loop(configured: None) -> None:
    """As in a notebook, whose cells run on an event loop of their own."""
    with Gateway() as gateway:
        assert gateway.whoami().name == "ann"
        with gateway.new_cluster() as cluster:
            assert cluster.get_client().scheduler_info()["type"] == "Scheduler"


async def test_the_asynchronous_face(fake: FakeHeadrace, agateway: AsyncGateway, eventually: Eventually) -> None:
    assert agateway.asynchronous
    assert (await agateway.whoami()).name == "ann"
    name = await agateway.submit(name="mine")
    assert [report.name for report in await agateway.list_clusters()] == [name]
    assert (await agateway.get_cluster("mine")).name == name
    await agateway.scale_cluster(name, 2)
    await agateway.adapt_cluster(name, maximum=3)
    assert len(await agateway.workers(name)) == 2
    assert (await agateway.events(name))[0].cluster == name
    assert "scheduler" in await agateway.logs(name)
    assert [piece async for piece in agateway.follow_logs(name, "scheduler", tail=1)][-1][1] == "later\n"
    assert (await agateway.cluster_options()).worker_cores == 2
    assert (await agateway.get_versions())["server"] == {"version": "0.1.0"}
    await agateway.stop_cluster(name)
    assert await agateway.stop_all() == []
    cluster = await agateway.new_cluster()
    async with await agateway.connect(cluster.name) as same:
        assert isinstance(same, GatewayCluster)
        assert same.name == cluster.name
    await cluster.close()
    assert fake.clusters[cluster.name].record.spec.stop


async def test_asynchronous_calls_run_at_once(fake: FakeHeadrace, agateway: AsyncGateway) -> None:
    names = await asyncio.gather(*(agateway.submit() for _ in range(20)))
    assert set(names) == set(fake.clusters)


async def test_await_and_close(configured: None) -> None:
    gateway = await Gateway(asynchronous=True)
    assert (await gateway.whoami()).name == "ann"
    await gateway.close()
    await gateway.close()
    with pytest.raises(TypeError, match="async with"), Gateway(asynchronous=True):
        pass


def _io_loops() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "IO loop"}
