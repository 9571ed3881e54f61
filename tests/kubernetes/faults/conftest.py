"""One headrace for all tests here, with a profile for each fault that is there from the beginning."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kubernetes.faults.clocks import CLOCKS, build, of_pods
from tests.kubernetes.faults.system import System, system
from tests.kubernetes.running import (
    ON_SECOND_NODE,
    PRETENDED,
    SECOND_NODE,
    Kubernetes,
    SecondNode,
    image,
    of_recipe,
    second_node,
)

from headrace import Gateway, GatewayCluster

REGISTRY_PORT = 5917
MISSING = f"localhost:{REGISTRY_PORT}/no-such:1"
"""An image of a registry on each node itself, from where nodes pull without TLS."""
LOST_NODE = "test-faults-lost"
GRACE = 60
"""Of workers that must have handed everything over by the end, however slow this machine is."""
_PREFERS: dict[str, Any] = {
    "weight": 100,
    "preference": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [SECOND_NODE]}]},
}
"""The second node as long as it takes pods, then another."""

PROFILES: dict[str, Any] = {
    "missing": {"image": MISSING},
    "full": {"namespace": True},
    "judged": {"namespace": True},
    "gone": {"namespace": True},
    "moved": {"namespace": True},
    "patient": {"termination_grace_period_seconds": GRACE},
    "small-disk": {"worker": {"scratch_size": "16Mi"}},
    "strict": {"namespace": True, "extra_pod_config": {"hostPID": True}},
    "pretended": {"tolerations": [PRETENDED], "node_selector": {"type": "kwok"}},
    "second": {
        # Dask would wait for a silent connection for longer than any test.
        "environment": {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "10m"},
        "worker": {
            "termination_grace_period_seconds": GRACE,
            "tolerations": [ON_SECOND_NODE],
            "lost_node_seconds": 1,
            "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [_PREFERS]}},
        },
    },
    "nodes": {"worker": {"tolerations": [PRETENDED], "lost_node_seconds": 1, "node_selector": {"type": LOST_NODE}}},
}


@pytest.fixture(scope="session")
def clock() -> Iterator[Path | None]:
    """A library for clocks that are wrong; None without gcc."""
    if shutil.which("gcc") is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="hr-clock-") as directory:
        yield build(Path(directory))


@pytest.fixture(scope="session")
def headrace(kubernetes: Kubernetes, redis_url: str, clock: Path | None) -> Iterator[System]:
    profiles = PROFILES | ({} if clock is None else _skewed(clock))
    with (
        tempfile.TemporaryDirectory(prefix="hr-faults-") as directory,
        system(kubernetes, Path(directory), redis_url, profiles) as running,
    ):
        yield running


def _skewed(clock: Path) -> dict[str, Any]:
    """Profiles whose schedulers' and workers' clocks are wrong in opposite ways."""
    ahead, behind = (of_pods(clock, CLOCKS[name]) for name in ("ahead", "behind"))
    return {"ahead": {"scheduler": ahead, "worker": behind}, "behind": {"scheduler": behind, "worker": ahead}}


@pytest.fixture(scope="session")
def _second(kubernetes: Kubernetes) -> Iterator[SecondNode]:
    if not of_recipe(kubernetes):
        pytest.skip("a second node that may be lost is there in our own cluster only")
    with second_node(kubernetes, image("headrace-dask")) as node:
        yield node


@pytest.fixture
def second(_second: SecondNode) -> Iterator[SecondNode]:
    """A real node; afterwards it is as it was, whatever the test did to it."""
    yield _second
    _second.start()


@pytest.fixture
def registry(headrace: System) -> Iterator[None]:
    """A registry that has no images."""
    headrace.kubernetes.apply(_registry(headrace.name))
    wait = ("wait", "pod", "registry", "-n", headrace.name, "--for=condition=Ready", "--timeout=120s")
    headrace.kubernetes.kubectl(*wait)
    yield
    headrace.kubernetes.kubectl("delete", "pod", "registry", "-n", headrace.name, "--grace-period=1")


def _registry(namespace: str) -> dict[str, Any]:
    serve = ["python", "-m", "http.server", "--bind", "127.0.0.1", "--directory", "/tmp", str(REGISTRY_PORT)]
    container = {"name": "registry", "image": image("headrace-dask"), "command": serve}
    spec = {"hostNetwork": True, "containers": [{**container, "imagePullPolicy": "IfNotPresent"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "registry", "namespace": namespace}, "spec": spec}


@pytest.fixture
def gateway(headrace: System, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """A user's; no cluster of theirs is left."""
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(headrace.layout.data))
    with Gateway() as gateway:
        yield gateway
        gateway.stop_all()


@pytest.fixture
def cluster(gateway: Gateway) -> Iterator[GatewayCluster]:
    with gateway.new_cluster() as cluster:
        yield cluster


@pytest.fixture
def client(cluster: GatewayCluster) -> Iterator[Any]:
    """Of a cluster with two workers."""
    cluster.scale(2)
    with cluster.get_client() as client:
        client.wait_for_workers(2, timeout=120)
        yield client
