"""`helm upgrade` and `helm rollback` while users work."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.kubernetes.chart.installation import RELEASE, Installation
from tests.kubernetes.running import until

SERVICES = ("auth", "controller", "proxy")
SECRETS = ("deployment-key", "admin-token", "metrics-token", "redis", "authority")
LOAD = """
    import json, os, uuid
    import headrace

    with headrace.Gateway() as gateway, gateway.new_cluster() as cluster:
        cluster.scale(1)
        with cluster.get_client() as client:
            held = client.submit(uuid.uuid4, pure=False)
            value = held.result()
            calls, failed = 0, []
            print("ready", flush=True)
            while not os.path.exists("/tmp/stop"):
                try:
                    assert cluster.name in [each.name for each in gateway.list_clusters()]
                    assert client.submit(sum, [calls, 1]).result() == calls + 1
                except Exception as error:
                    failed.append(repr(error))
                calls += 1
            print(json.dumps({"calls": calls, "failed": failed, "kept": held.result() == value}))
"""


@pytest.fixture
def under_load(installation: Installation) -> Iterator[str]:
    """A pod that calls, computes, and holds a future that no worker could compute again."""
    name = "load"
    installation.begin(name, LOAD)
    try:
        until(lambda: "ready" in installation.log(name), "the load runs", within=180)
        yield name
    finally:
        installation.kubectl("delete", "pod", name, "--ignore-not-found", "--wait=false")


def test_an_upgrade_and_a_rollback_lose_no_future_and_fail_no_call(installation: Installation, under_load: str) -> None:
    before = {name: installation.secret(name) for name in SECRETS}
    first = _pods(installation)
    revision = _revision(installation)

    installation.upgrade(*_new_pods("second"))
    second = _pods(installation)
    assert not first & second
    installation.rollback(revision)
    assert not second & _pods(installation)

    installation.kubectl("exec", under_load, "--", "touch", "/tmp/stop")
    printed = installation.finish(under_load)
    result = json.loads(printed.splitlines()[-1])
    assert result["failed"] == []
    assert result["kept"]
    assert result["calls"] > 100
    assert {name: installation.secret(name) for name in SECRETS} == before


def _new_pods(mark: str) -> list[str]:
    """Values with which every service gets new pods."""
    return [argument for name in SERVICES for argument in ("--set", f"{name}.pod.annotations.round={mark}")]


def _pods(installation: Installation) -> set[str]:
    """Pods of the services that are not about to end."""
    selector = f"app.kubernetes.io/component in ({','.join(SERVICES)})"
    pods = installation.get("pods", "-l", selector)["items"]
    return {pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}


def _revision(installation: Installation) -> int:
    history = installation.kubernetes.helm("history", RELEASE, "-n", installation.namespace, "-o", "json")
    return json.loads(history)[-1]["revision"]
