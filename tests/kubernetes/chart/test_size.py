"""How much of a cluster the chart asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import yaml
from kubernetes.utils.quantity import parse_quantity
from tests.kubernetes.chart.installation import CHART, RELEASE

from headrace.option_types import Bytes

KINDS = {"Deployment", "StatefulSet"}


def test_the_default_and_its_helm_test_fit_on_half_of_a_small_node(helm: Callable[..., str]) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    options, scheduler = values["tests"]["options"], values["policy"]["scheduler"]
    objects = [each for each in yaml.safe_load_all(helm("template", RELEASE, str(CHART))) if each]
    asked = [request for each in objects for request in _requests(each)]
    cores = sum(float(parse_quantity(each["cpu"])) for each in asked) + scheduler["cores"] + options["worker_cores"]
    assert cores <= 1
    # A scheduler has the policy's own default of memory, 2 GiB.
    memory = sum(float(parse_quantity(each["memory"])) for each in asked) / 2**30 + 2
    assert memory + Bytes(0, 2**50).check(options["worker_memory"]) / 2**30 <= 5


def _requests(each: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Requests of all containers that run for longer than a hook, and of the pod of `helm test`."""
    if each["kind"] in KINDS:
        spec, pods = each["spec"]["template"]["spec"], each["spec"]["replicas"]
    elif each["kind"] == "Pod":
        spec, pods = each["spec"], 1
    else:
        return
    sidecars = [one for one in spec.get("initContainers", ()) if one.get("restartPolicy") == "Always"]
    for container in spec["containers"] + sidecars:
        yield from [container["resources"]["requests"]] * pods
