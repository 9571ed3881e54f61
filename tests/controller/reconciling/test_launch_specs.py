"""What a backend is told of a process."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from tests.controller.builders import running_cluster, worker

from headrace.v1.enums import ExitCause
from headrace_chassis.identity.agent_tokens import AgentTokens
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import SCHEDULER, ProcessKey, Role
from headrace_controller.model import Cluster, Group, Phase, Resources
from headrace_controller.profiles import Profiles
from headrace_controller.reconciling.launch_specs import LaunchSpecs


class OneProfile:
    """Profiles of which one is left."""

    def backend_of(self, key: str) -> str | None:
        return "local" if key == "default" else None


class Tokens:
    def launch(self, cluster: str, process: str, seconds: float) -> str:
        return f"token of {process} of {cluster} for {seconds} s"


SCHEDULER_SIZE = Resources(cores=0.5, memory_bytes=2**31)
SPECS = LaunchSpecs(
    cast("Profiles", OneProfile()),
    {"local": ["conda_prefix"]},
    cast("AgentTokens", Tokens()),
    lambda: "PEM",
    token_seconds=60,
    scheduler=lambda: SCHEDULER_SIZE,
)
GPU = Group(name="gpu", options={"worker_gpus": 2, "conda_prefix": "/gpu"})


def cluster() -> Cluster:
    made = running_cluster(
        worker("gpu-1-abcdef"),
        groups=[Group(), GPU],
        spec={
            "profile": "default",
            "tags": {"team": "a"},
            "options": {
                "worker_cores": 2.0,
                "worker_memory": 2**30,
                "conda_prefix": "/env",
                "environment": {"A": "1"},
                "unknown": "x",
            },
        },
    )
    return replace(made, generation=3)


def test_a_worker_has_the_shape_of_its_group() -> None:
    (spec,) = SPECS.make(cluster(), ["gpu-1-abcdef"], b"manifest")
    assert spec.key == ProcessKey("c1", "gpu-1-abcdef")
    assert (spec.backend, spec.role, spec.generation, spec.owner) == ("local", Role.WORKER, 3, "ann")
    assert (spec.agent_token, spec.agent_ca_pem) == ("token of gpu-1-abcdef of c1 for 60 s", "PEM")
    assert spec.resources == Resources(cores=2.0, memory_bytes=2**30, gpus=2)
    assert spec.environment == {"A": "1"}
    assert spec.labels == {"owner": "ann", "profile": "default", "group": "gpu", "tag/team": "a"}
    assert spec.settings == {"conda_prefix": "/gpu"}
    assert spec.manifest == b""


def test_what_was_fixed_at_the_creation_holds_where_no_user_has_given_a_value() -> None:
    def settings(fixed: dict[str, dict[str, str]], **options: str) -> list[object]:
        made = running_cluster(
            worker("gpu-1-abcdef"),
            worker("default-1-abcdef"),
            groups=[Group(), Group(name="gpu", options={"conda_prefix": ""})],
            spec={"profile": "default", "options": options, "fixed": fixed},
        )
        specs = SPECS.make(made, [SCHEDULER, "default-1-abcdef", "gpu-1-abcdef"], b"")
        return [spec.settings.get("conda_prefix") for spec in specs]

    fixed = {
        "scheduler": {"conda_prefix": "/s"},
        "worker": {"conda_prefix": "/w"},
        "worker/gpu": {"conda_prefix": "/g"},
    }
    assert settings(fixed) == ["/s", "/w", "/g"]
    assert settings({"worker": {"conda_prefix": "/w"}}) == [None, "/w", "/w"]
    assert settings(fixed, conda_prefix="/own") == ["/own", "/own", "/g"]
    assert settings({}) == [None, None, ""]


def test_what_is_fixed_and_no_option_of_users_holds_whatever_they_give() -> None:
    spec = {"profile": "default", "options": {"place": "elsewhere"}, "fixed": {"scheduler": {"place": "here"}}}
    (made,) = SPECS.make(running_cluster(spec=spec), [SCHEDULER], b"")
    assert made.settings == {"place": "here"}


def test_a_cluster_stays_on_the_backend_on_which_it_was_created() -> None:
    kept = replace(cluster(), spec=replace(cluster().spec, profile="gone", backend="pods"))
    specs = LaunchSpecs(
        cast("Profiles", OneProfile()), {"pods": [], "local": []}, cast("AgentTokens", Tokens()), token_seconds=60
    )
    assert [one.backend for one in specs.make(kept, [SCHEDULER, "gpu-1-abcdef"], b"")] == ["pods", "pods"]


def test_the_scheduler_keeps_the_manifest_and_is_as_large_as_limits_count_it() -> None:
    (spec,) = SPECS.make(cluster(), [SCHEDULER], b"manifest")
    assert (spec.role, spec.manifest, spec.resources) == (Role.SCHEDULER, b"manifest", SCHEDULER_SIZE)
    assert spec.settings == {"conda_prefix": "/env"}
    assert "group" not in spec.labels


def test_only_processes_of_a_start_are_told_its_trace() -> None:
    running = replace(cluster(), status=replace(cluster().status, traceparent="00-a-b-01"))
    starting = replace(running, status=replace(running.status, phase=Phase.STARTING))
    (spec,) = SPECS.make(starting, [SCHEDULER], b"")
    assert spec.environment == {"A": "1", "TRACEPARENT": "00-a-b-01"}
    (spec,) = SPECS.make(running, ["gpu-1-abcdef"], b"")
    assert spec.environment == {"A": "1"}


def test_without_its_profile_nothing_tells_the_backend() -> None:
    gone = cluster()
    gone = replace(gone, spec=replace(gone.spec, profile="gone"))
    with pytest.raises(BackendError, match="profile 'gone' is not in the policy any more") as raised:
        SPECS.make(gone, [SCHEDULER], b"")
    assert raised.value.cause is ExitCause.REFUSED
