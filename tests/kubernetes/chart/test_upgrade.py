"""`helm upgrade` and `helm rollback` while users work."""

from __future__ import annotations

import json

from tests.kubernetes.chart.installation import RELEASE, Installation
from tests.kubernetes.chart.load import under_load

SERVICES = ("auth", "controller", "proxy")
SECRETS = ("deployment-key", "admin-token", "metrics-token", "redis", "authority")


def test_an_upgrade_and_a_rollback_lose_no_future_and_fail_no_call(installation: Installation) -> None:
    before = {name: installation.secret(name) for name in SECRETS}
    first = _pods(installation)
    revision = _revision(installation)
    with under_load(installation) as load:
        installation.upgrade(*_new_pods("second"))
        second = _pods(installation)
        assert not first & second
        installation.rollback(revision)
        assert not second & _pods(installation)
        load.end()
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
