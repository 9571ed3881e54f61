"""An agent is the first process of its container, for which the kernel ignores signals without a handler."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kubernetes.running import Kubernetes, until

from headrace.agent.identity import Identity

pytestmark = pytest.mark.timeout(300)


def test_an_agent_that_waits_for_a_controller_ends_when_it_is_told_to(
    kubernetes: Kubernetes, namespace: str, image: Any
) -> None:
    identity = Identity(
        deployment="d", cluster="c1", process="w-1", role="worker", generation=1, endpoint="unix:/nobody", token="t"
    )
    container = {
        "name": "dask",
        "image": image("headrace-dask"),
        "imagePullPolicy": "Never",
        "args": ["python", "-m", "headrace.agent"],
        "env": [{"name": name, "value": value} for name, value in identity.to_environment().items()],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "waits", "namespace": namespace},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 600, "containers": [container]},
    }
    kubernetes.apply(pod)
    until(lambda: "waiting for the controller" in kubernetes.kubectl("logs", "waits", "-n", namespace), "it waits", 120)
    kubernetes.kubectl("patch", "pod", "waits", "-n", namespace, "-p", '{"spec": {"activeDeadlineSeconds": 1}}')

    def exit_code() -> int | None:
        [status] = kubernetes.get("pod", "waits", "-n", namespace)["status"]["containerStatuses"]
        return status["state"].get("terminated", {}).get("exitCode")

    assert until(exit_code, "it has ended") == 143  # 137: killed at the end of its grace
