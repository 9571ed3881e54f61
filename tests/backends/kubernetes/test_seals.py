"""Seals on pods: only who has the deployment's key can say whose a pod is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.backends.kubernetes.pods import decoded
from tests.backends.processes import spec

from headrace_backend_kubernetes import labels
from headrace_backend_kubernetes.objects import Pod
from headrace_backend_kubernetes.pod_templates import PodTemplates
from headrace_backend_kubernetes.process_pods import ProcessPods
from headrace_backend_kubernetes.profile_settings import PodDefaults
from headrace_backend_kubernetes.seals import PodSeals
from headrace_backend_kubernetes.standby_pods import giving, standby_pod, with_name
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import SCHEDULER, ProcessSpec

DEPLOYMENT = "d"
SEALS = PodSeals([b"key"], DEPLOYMENT)
PODS = ProcessPods(deployment=DEPLOYMENT, endpoint="c:1", token_seconds=3600, seals=SEALS)
TEMPLATES = PodTemplates(PodDefaults.model_validate({"image": "dask:1"}), {}, "ns")


def process(cluster: str = "victim") -> ProcessSpec:
    return replace(spec(cluster, SCHEDULER), settings={})


def made(**annotations: str | None) -> Pod:
    """A scheduler's pod, which has been changed."""
    pod: dict[str, Any] = PODS.of(process(), TEMPLATES)
    changed = pod["metadata"]["annotations"] | annotations
    pod["metadata"]["annotations"] = {name: value for name, value in changed.items() if value is not None}
    return decoded(pod)


def moved(**metadata: str) -> Pod:
    pod = PODS.of(process(), TEMPLATES)
    pod["metadata"] |= metadata
    return decoded(pod)


def test_the_pod_of_a_process_is_known_by_its_seal() -> None:
    assert SEALS.is_good(made())


@pytest.mark.parametrize(
    "annotations",
    [
        {labels.CLUSTER: "other"},
        {labels.PROCESS: "default-1-abcdef"},
        {labels.GENERATION: "999999999"},
        {labels.CLUSTER: None, labels.PROCESS: None},
        {labels.SEAL: None},
        {labels.SEAL: ""},
        {labels.SEAL: "é"},
    ],
)
def test_a_pod_that_says_something_else_than_was_sealed_is_not_believed(annotations: dict[str, str | None]) -> None:
    assert not SEALS.is_good(made(**annotations))


@pytest.mark.parametrize("metadata", [{"namespace": "theirs"}, {"name": "copied"}])
def test_a_copied_seal_is_good_for_no_other_pod(metadata: dict[str, str]) -> None:
    assert not SEALS.is_good(moved(**metadata))


def test_a_seal_is_good_for_no_other_role() -> None:
    pod = PODS.of(process(), TEMPLATES)
    pod["metadata"]["labels"][labels.ROLE] = "worker"
    assert not SEALS.is_good(decoded(pod))


def test_seals_of_other_keys_and_deployments_are_not_believed() -> None:
    assert not PodSeals([b"other"], DEPLOYMENT).is_good(made())
    assert not PodSeals([b"key"], "e").is_good(made())
    assert not PodSeals([], DEPLOYMENT).is_good(made())


def test_a_key_that_is_being_replaced_is_still_known() -> None:
    assert PodSeals([b"new", b"key"], DEPLOYMENT).is_good(made())


def test_nothing_is_sealed_without_a_key() -> None:
    with pytest.raises(BackendError, match="no key"):
        PodSeals([], DEPLOYMENT).of("ns", "name", "worker", {})


def test_a_pod_in_standby_is_sealed_and_gets_another_seal_when_it_is_given() -> None:
    standby = standby_pod(process(), PODS, TEMPLATES)
    assert standby
    assert labels.SEAL not in standby.body["metadata"]["annotations"]  # the hash must not depend on the key
    body = with_name(standby, "dask-standby-1", PODS)
    assert SEALS.is_good(decoded(body))
    for operation in giving(decoded(body), standby, process(), PODS, 0.0):
        _, kind, name = operation["path"].removeprefix("/metadata").split("/", 2) if operation["op"] == "add" else "???"
        if operation["op"] == "add":
            body["metadata"][kind][name.replace("~1", "/")] = operation["value"]
    given = decoded(body)
    assert given.key == process().key
    assert SEALS.is_good(given)
