"""Clusters that nobody needs are given back by a real headrace, with its own measurements and short times."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.running import Running, running, wait_until

from headrace import Gateway, GatewayCluster

# Until all clusters are as the test wants them.
NOBODY = "culling: {idle: null}\n"
POLICY = """
culling:
  idle: {after: 5 s, warn: 2 s}
  nobody_connected: {after: 3 s, warn: 1 s}
"""
# Another user's notebook, whose kernel is killed while its cluster works.
WORKS = """
import time
from distributed import fire_and_forget
from headrace import Gateway, GatewayCluster
cluster = Gateway().new_cluster(name="killed", shutdown_on_close=False)
cluster.scale(1)
client = cluster.get_client()
fire_and_forget(client.submit(time.sleep, 600))  # so that it is never idle, without its client
cluster.wait_for_workers(1)
print("works", flush=True)
time.sleep(600)
"""


@pytest.fixture
def headrace(tmp_path: Path) -> Iterator[Running]:
    policy = tmp_path / "policy.yaml"
    policy.write_text(NOBODY)
    environment = {
        "HEADRACE_CONTROLLER_SIGNALS__INTERVAL_SECONDS": "0.5",
        "HEADRACE_CONTROLLER_SESSION_GRACE_SECONDS": "1",
    }
    with running(tmp_path, "--policy", str(policy), environment=environment) as headrace:
        yield headrace


def test_what_nobody_needs_is_stopped_and_what_works_or_holds_results_is_kept(
    headrace: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(headrace.data))
    with Gateway() as gateway, ExitStack() as stack:
        busy, client = cluster_and_client(gateway, stack)
        working = client.submit(time.sleep, 600)
        holding, holder = cluster_and_client(gateway, stack)
        held = holder.submit(sum, [1, 2])
        for cluster in (busy, holding):
            cluster.scale(1)
        kept = stack.enter_context(gateway.new_cluster())
        kept.keep(hours=0.5)
        idle, _ = cluster_and_client(gateway, stack)
        killed = subprocess.Popen([sys.executable, "-c", WORKS], stdout=subprocess.PIPE)
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"works\n"
        abandoned = gateway.get_cluster("killed").name
        killed.kill()
        killed.wait()
        killed.stdout.close()
        (tmp_path / "policy.yaml").write_text(POLICY)

        for name, reason in ((idle.name, "IDLE"), (abandoned, "NO_CLIENT")):
            wait_until(lambda name=name: gateway.get_cluster(name).status.name == "STOPPED", within=60)
            assert gateway.get_cluster(name).reason == reason
            happened = [event.type for event in gateway.events(name)]
            assert happened.index("CullingWarned") < happened.index("Stopping")
        for cluster in (busy, kept, holding):
            assert gateway.get_cluster(cluster.name).status.name == "RUNNING"
        assert held.result() == 3
        held.release()
        wait_until(lambda: gateway.get_cluster(holding.name).reason == "IDLE", within=60)
        working.release()


def cluster_and_client(gateway: Gateway, stack: ExitStack) -> tuple[GatewayCluster, Any]:
    cluster = stack.enter_context(gateway.new_cluster())
    return cluster, stack.enter_context(cluster.get_client())
