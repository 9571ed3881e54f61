"""How a GatewayCluster ends, and which clusters end with it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading

import pytest
from distributed import Client, get_client
from tests.client.conftest import AsyncGateway
from tests.client.fake_headrace import FakeHeadrace
from tests.conftest import Eventually
from tests.e2e.running import wait_until

from headrace import Gateway, errors


@pytest.mark.parametrize(
    ("given", "argument", "ends"),
    [(None, None, True), (True, None, True), (False, None, False), (True, False, False), (False, True, True)],
)
def test_what_close_does_to_the_cluster(
    fake: FakeHeadrace, gateway: Gateway, given: bool | None, argument: bool | None, ends: bool
) -> None:
    cluster = gateway.new_cluster(shutdown_on_close=given)
    cluster.close(argument)
    cluster.close()
    assert fake.clusters[cluster.name].record.spec.stop is ends


def test_shutdown_ends_a_cluster_that_was_only_connected_to(fake: FakeHeadrace, gateway: Gateway) -> None:
    cluster = gateway.new_cluster()
    gateway.connect(cluster.name).close()
    assert not fake.clusters[cluster.name].record.spec.stop
    gateway.connect(cluster.name).shutdown()
    assert fake.clusters[cluster.name].record.spec.stop
    cluster.close()


def test_clients_are_closed_with_the_cluster(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        default, other = cluster.get_client(), cluster.get_client(set_as_default=False)
        assert get_client() is default
        assert isinstance(other, Client)
    assert (default.status, other.status) == ("closed", "closed")


def test_ctrl_c_stops_the_cluster_that_was_being_started(
    fake: FakeHeadrace, gateway: Gateway, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.starts = False

    def interrupt() -> None:
        wait_until(lambda: "WatchClusters" in fake.calls)
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        gateway.new_cluster()
    interrupting.join()
    (cluster,) = fake.clusters.values()
    assert cluster.record.spec.stop
    assert "stopping the cluster" in capfd.readouterr().err


async def test_a_cluster_without_references_is_closed(
    fake: FakeHeadrace, gateway: Gateway, eventually: Eventually
) -> None:
    cluster = gateway.new_cluster()
    name = cluster.name
    del cluster
    await eventually(lambda: gc.collect() < 0 or fake.clusters[name].record.spec.stop, within=60)


def test_the_end_of_the_process_ends_its_clusters(fake: FakeHeadrace) -> None:
    code = f"""
from headrace import Gateway, TokenAuth
gateway = Gateway({fake.address!r}, {fake.proxy.port}, auth=TokenAuth("ann-secret"), tls_ca_file={str(fake.ca_file)!r})
ends, stays = gateway.new_cluster(), gateway.new_cluster(shutdown_on_close=False)
client = ends.get_client()
print(ends.name, stays.name)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    ends, stays = done.stdout.split()
    assert fake.clusters[ends].record.spec.stop
    assert not fake.clusters[stays].record.spec.stop


def test_a_forked_process_is_told_and_ends_nothing(fake: FakeHeadrace) -> None:
    code = f"""
import os, sys
from headrace import Gateway, TokenAuth
gateway = Gateway({fake.address!r}, {fake.proxy.port}, auth=TokenAuth("ann-secret"), tls_ca_file={str(fake.ca_file)!r})
cluster = gateway.new_cluster(shutdown_on_close=False)
cluster.shutdown_on_close = True
if os.fork() == 0:
    for call in (gateway.whoami, lambda: cluster.scale(1), cluster.get_client):
        try:
            call()
        except Exception as error:
            print(type(error).__name__, "forked" in str(error), flush=True)
    sys.exit()
os.wait()
cluster.shutdown_on_close = False
print(cluster.name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    *lines, name = done.stdout.splitlines()
    assert lines == ["GatewayServerError True"] * 3
    assert not fake.clusters[name].record.spec.stop


def test_a_cluster_that_cannot_be_stopped_is_told(
    fake: FakeHeadrace, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = gateway.new_cluster()
    fake.fail("StopCluster", errors.InternalError("out of order"))
    cluster.close()
    assert "could not be stopped and may still run: out of order" in caplog.text


async def test_giving_up_the_wait_stops_the_cluster(
    fake: FakeHeadrace, agateway: AsyncGateway, eventually: Eventually
) -> None:
    fake.starts = False
    starting = asyncio.ensure_future(agateway.new_cluster())
    await eventually(lambda: fake.clusters)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    (cluster,) = fake.clusters.values()
    await eventually(lambda: cluster.record.spec.stop)
