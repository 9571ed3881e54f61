"""The number of pods of auth and proxy by what they use, as the real metrics-server measures it, while a user works."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kubernetes.addons import metrics_server
from tests.kubernetes.chart.examples import Examples, one_release
from tests.kubernetes.chart.installation import RELEASE
from tests.kubernetes.chart.load import under_load
from tests.kubernetes.running import Kubernetes, until

SCALED = ("auth", "proxy")
SIZE = re.compile(r"New size: (\d+);")
STEP = re.compile(r" from (\d+) to (\d+)$")
LEAST, FIRST, MOST = 1, 2, 3
# In percent of what the pods ask for: whatever they use is more than the one, and less than the other.
NOTHING, ALL_OF_IT = 1, 1_000_000


@pytest.fixture(scope="module")
def release(kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examples]:
    folder = tmp_path_factory.mktemp("values")
    with metrics_server(kubernetes), one_release(kubernetes, folder, "autoscaling") as release:
        release.take("trial", {service: {"replicas": FIRST} for service in SCALED})
        yield release


def test_pods_come_and_go_by_what_they_use_and_no_call_fails(release: Examples) -> None:
    with under_load(release.installation) as load:
        first = {service: _pods(release, service) for service in SCALED}
        release.take("trial", _autoscaling(NOTHING))
        for service in SCALED:
            until(lambda service=service: _ready(release, service) == MOST, f"{service} has its most pods", within=300)
            until(lambda service=service: _is_measured(release, service), f"what {service} uses is measured")
            assert first[service] < _pods(release, service)

        # Those that the user's connections are with go first.
        for pod in set[str]().union(*first.values()):
            release.installation.kubectl("annotate", "pod", pod, "controller.kubernetes.io/pod-deletion-cost=-1")
        release.take("trial", _autoscaling(ALL_OF_IT))
        for service in SCALED:
            until(lambda service=service: _ready(release, service) == LEAST, f"{service} has its least", within=300)
            until(lambda service=service: not first[service] & _pods(release, service), f"{service} has ended pods")
        load.end()
    for service in SCALED:
        # Each step is the autoscaler's, none Helm's, and the first is from the number that there was before.
        steps = _steps(release, service)
        assert steps[0] == (FIRST, MOST)
        assert [to for _, to in steps] == _rescales(release, service)


def _autoscaling(target: int) -> dict[str, Any]:
    values = {
        "enabled": True,
        "minReplicas": LEAST,
        "maxReplicas": MOST,
        "targetCPUUtilizationPercentage": target,
        "scaleDownStabilizationSeconds": 0,
    }
    # A number of pods that the values still have counts no longer.
    return {service: {"replicas": FIRST, "autoscaling": values} for service in SCALED}


def _is_measured(release: Examples, service: str) -> bool:
    """Whether the autoscaler knows the share of what all containers of the pods ask for.

    It forgets it for a while where metrics-server is late.
    """
    status = release.installation.get("horizontalpodautoscaler", f"{RELEASE}-{service}")["status"]
    [active] = [each for each in status["conditions"] if each["type"] == "ScalingActive"]
    if (active["status"], active["reason"]) != ("True", "ValidMetricFound"):
        return False
    [metric] = status["currentMetrics"]
    return metric["resource"]["current"]["averageUtilization"] > NOTHING


def _ready(release: Examples, service: str) -> int:
    """How many pods there are, 0 unless all are ready."""
    status = release.installation.get("deployment", f"{RELEASE}-{service}")["status"]
    there = status["replicas"]
    return there if status.get("readyReplicas") == there else 0


def _pods(release: Examples, service: str) -> set[str]:
    """Names of the pods, those that are ending included."""
    pods = release.installation.get("pods", f"-l=app.kubernetes.io/component={service}")["items"]
    return {pod["metadata"]["name"] for pod in pods}


def _steps(release: Examples, service: str) -> list[tuple[int, int]]:
    """From how many pods to how many the Deployment went since it was made."""
    found = (STEP.search(message) for message in _said(release, "Deployment", service, "ScalingReplicaSet"))
    return [(int(step[1]), int(step[2])) for step in found if step and step[1] != "0"]


def _rescales(release: Examples, service: str) -> list[int]:
    """The numbers of pods that the autoscaler chose."""
    found = (SIZE.match(message) for message in _said(release, "HorizontalPodAutoscaler", service, "SuccessfulRescale"))
    return [int(size[1]) for size in found if size]


def _said(release: Examples, kind: str, service: str, reason: str) -> list[str]:
    """What the events of an object say, in their order."""
    of = f"involvedObject.kind={kind},involvedObject.name={RELEASE}-{service},reason={reason}"
    events = release.installation.get("events", f"--field-selector={of}")["items"]
    return [each["message"] for each in sorted(events, key=lambda each: each["lastTimestamp"])]
