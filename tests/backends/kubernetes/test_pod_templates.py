"""From an administrator's settings to pods: what is set where, in which order it counts, and what cannot be set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from headrace_backend_kubernetes.pod_templates import PodTemplates
from headrace_backend_kubernetes.profile_settings import PodDefaults, ProfileSettings
from headrace_controller.backends.base import BackendError
from headrace_controller.backends.process import ProcessKey, ProcessSpec, Role
from headrace_controller.model import Resources

SMALL = Resources(cores=1, memory_bytes=2**30)


def spec(
    role: Role = Role.WORKER,
    group: str = "default",
    *,
    resources: Resources = SMALL,
    environment: Mapping[str, str] | None = None,
    image: str = "",
) -> ProcessSpec:
    return ProcessSpec(
        key=ProcessKey("c-1", "scheduler" if role is Role.SCHEDULER else "w-1"),
        backend="kubernetes",
        role=role,
        generation=1,
        owner="ann",
        agent_token="secret",
        resources=resources,
        environment=environment or {},
        labels={"owner": "ann", "profile": "p", **({"group": group} if role is Role.WORKER else {})},
        settings={"image": image} if image else {},
    )


def templates(profile: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> PodTemplates:
    return PodTemplates(
        PodDefaults.model_validate({"image": "example.org/dask:1", **(defaults or {})}),
        {"p": ProfileSettings.model_validate(profile)},
        "own",
    )


def pod(profile: Mapping[str, Any], of: ProcessSpec | None = None, **defaults: Any) -> dict[str, Any]:
    return templates(profile, defaults).of(of or spec())["spec"]


def container(profile: Mapping[str, Any], of: ProcessSpec | None = None, **defaults: Any) -> dict[str, Any]:
    [found] = pod(profile, of, **defaults)["containers"]
    return found


def test_the_images_of_new_clusters_are_those_of_the_settings_by_role_and_group() -> None:
    profile = {"scheduler": {"image": "s:1"}, "groups": {"gpu": {"image": "g:1"}, "same": {"labels": {"a": "b"}}}}
    found = templates(profile).fixed("p")
    assert {of: values["image"] for of, values in found.items()} == {
        "scheduler": "s:1",
        "worker": "example.org/dask:1",
        "worker/gpu": "g:1",
    }
    assert "image" not in templates({}, {"image": ""}).fixed("p")["worker"]
    assert templates({}).fixed("gone")["worker"]["image"] == "example.org/dask:1"


def test_the_pods_of_a_cluster_stay_in_the_namespace_in_which_it_was_created() -> None:
    before, after = templates({"namespace": "lab"}), templates({"namespace": "new"})
    for role in (Role.SCHEDULER, Role.WORKER):
        kept = replace(spec(role), settings=before.fixed("p")[str(role)])
        assert after.of(kept)["metadata"]["namespace"] == "lab"
    assert after.of(spec())["metadata"]["namespace"] == "new"
    assert templates({}).fixed("p")["scheduler"]["namespace"] == "own"


def test_node_autoscalers_leave_schedulers_where_they_are_unless_told_otherwise() -> None:
    def told(role: Role, **profile: Any) -> dict[str, str]:
        return templates(profile).of(spec(role))["metadata"]["annotations"]

    evict, disrupt = "cluster-autoscaler.kubernetes.io/safe-to-evict", "karpenter.sh/do-not-disrupt"
    assert told(Role.SCHEDULER) == {evict: "false", disrupt: "true"}
    assert told(Role.WORKER) == {}
    assert told(Role.SCHEDULER, scheduler={"annotations": {evict: "true", disrupt: None}}) == {evict: "true"}
    assert told(Role.WORKER, annotations={evict: "true"}) == {evict: "true"}


def test_a_pod_without_settings_is_as_the_standard_restricted_wants_it() -> None:
    found, [dask] = pod({}), pod({})["containers"]
    assert found["restartPolicy"] == "Never"
    assert found["automountServiceAccountToken"] is False
    assert found["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert dask["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert dask["args"] == ["python", "-m", "headrace.agent"]
    assert "command" not in dask
    assert found["volumes"] == [{"name": "headrace-scratch", "emptyDir": {}}]
    assert dask["volumeMounts"] == [{"name": "headrace-scratch", "mountPath": "/tmp"}]


@pytest.mark.parametrize(
    ("promised", "settings", "requests", "limits"),
    [
        (
            Resources(cores=0.333, memory_bytes=7_730_941_133),
            {},
            {"cpu": "333m", "memory": "7730941133"},
            {"memory": "7730941133"},
        ),
        (Resources(cores=2), {"cpu_limit_factor": 1.5}, {"cpu": "2000m"}, {"cpu": "3000m"}),
        (
            Resources(cores=2, memory_bytes=1001),
            {"cpu_request_factor": 0.25, "memory_request_factor": 0.5},
            {"cpu": "500m", "memory": "500"},
            {"memory": "1001"},
        ),
        (Resources(), {}, {}, {}),
        (Resources(gpus=2), {}, {"nvidia.com/gpu": "2"}, {"nvidia.com/gpu": "2"}),
        (Resources(gpus=1), {"gpu_resource": "amd.com/gpu"}, {"amd.com/gpu": "1"}, {"amd.com/gpu": "1"}),
        (
            Resources(),
            {"resources": {"ephemeral-storage": "20Gi", "rdma/hca": 1}},
            {"ephemeral-storage": "20Gi", "rdma/hca": "1"},
            {"ephemeral-storage": "20Gi", "rdma/hca": "1"},
        ),
    ],
)
def test_sizes_are_those_that_limits_count(
    promised: Resources, settings: dict[str, Any], requests: dict[str, str], limits: dict[str, str]
) -> None:
    assert container(settings, spec(resources=promised))["resources"] == {"requests": requests, "limits": limits}


def test_what_is_closer_to_the_pod_counts() -> None:
    settings = {
        "priority_class": "profile",
        "node_selector": {"pool": "profile", "zone": "a"},
        "tolerations": [{"key": "profile"}],
        "scheduler": {"priority_class": "scheduler", "node_selector": {"pool": "on-demand"}},
        "worker": {"node_selector": {"pool": "spot"}, "tolerations": [{"key": "spot"}]},
        "groups": {"gpu": {"node_selector": {"zone": None}, "image": "gpu:1"}},
    }
    defaults = {"priority_class": "all", "runtime_class": "all", "worker": {"runtime_class": "worker"}}
    made = templates(settings, defaults)
    scheduler, worker, gpu = (
        made.of(spec(Role.SCHEDULER))["spec"],
        made.of(spec())["spec"],
        made.of(spec(group="gpu"))["spec"],
    )
    assert [one["priorityClassName"] for one in (scheduler, worker, gpu)] == ["scheduler", "profile", "profile"]
    assert [one["runtimeClassName"] for one in (scheduler, worker, gpu)] == ["all", "worker", "worker"]
    assert scheduler["nodeSelector"] == {"pool": "on-demand", "zone": "a"}
    assert worker["nodeSelector"] == {"pool": "spot", "zone": "a"}
    assert gpu["nodeSelector"] == {"pool": "spot"}
    assert [one["key"] for one in scheduler["tolerations"][:-2]] == ["profile"]
    assert [one["key"] for one in gpu["tolerations"][:-2]] == ["profile", "spot"]
    assert [one["containers"][0]["image"] for one in (scheduler, gpu)] == ["example.org/dask:1", "gpu:1"]


def test_a_group_called_as_one_of_the_settings_does_not_reach_the_scheduler() -> None:
    made = templates({"groups": {"default": {"priority_class": "workers"}}})
    assert "priorityClassName" not in made.of(spec(Role.SCHEDULER))["spec"]
    assert made.of(spec())["spec"]["priorityClassName"] == "workers"


def test_variables_are_literal_and_users_override() -> None:
    settings = {
        "environment": {
            "A": "$(B) $$ $",
            "N": 1,
            "TOKEN": {"secret": "s", "key": "k"},
            "C": {"config_map": "m", "key": "k", "optional": True},
            "NODE": {"field": "spec.nodeName"},
            "MINE": "administrator's",
            "GONE": "x",
        },
        "environment_from": [{"secret": "all", "prefix": "P_"}, {"config_map": "more", "optional": True}],
        "worker": {"environment": {"TOKEN": "none", "GONE": None}},
    }
    found = container(settings, spec(environment={"MINE": "$(TOKEN)"}))
    assert found["env"] == [
        {"name": "A", "value": "$$(B) $$$$ $$"},
        {"name": "N", "value": "1"},
        {"name": "TOKEN", "value": "none"},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k", "optional": True}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "MINE", "value": "$$(TOKEN)"},
    ]
    assert found["envFrom"] == [
        {"secretRef": {"name": "all", "optional": False}, "prefix": "P_"},
        {"configMapRef": {"name": "more", "optional": True}},
    ]
    scheduler = container(settings, spec(Role.SCHEDULER))
    assert {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": False}}} in scheduler[
        "env"
    ]


def test_extra_config_is_merged_deep() -> None:
    settings = {
        "extra_pod_config": {
            "securityContext": {"runAsUser": None, "fsGroup": 100},
            "tolerations": [{"operator": "Exists"}],
            "dnsPolicy": "Default",
        },
        "extra_container_config": {
            "command": ["tini", "--"],
            "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "$(A)"}],
            "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}},
        },
        "environment": {"A": "1"},
        "worker": {"extra_pod_config": {"dnsPolicy": None, "securityContext": {"fsGroup": 200}}},
    }
    found = pod(settings)
    assert found["securityContext"] == {
        "runAsNonRoot": True,
        "runAsGroup": 1000,
        "fsGroup": 200,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert len(found["tolerations"]) == 3
    assert "dnsPolicy" not in found
    [dask] = found["containers"]
    assert dask["command"] == ["tini", "--"]
    assert dask["env"] == [{"name": "A", "value": "2"}, {"name": "B", "value": "$(A)"}]
    assert dask["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["SYS_PTRACE"]}


def test_volumes_are_mounted() -> None:
    settings = {
        "volumes": {
            "data": {"path": "/data", "source": {"persistentVolumeClaim": {"claimName": "d"}}, "read_only": True},
            "config": {"path": "/etc/dask", "source": {"configMap": {"name": "dask"}}, "sub_path": "dask"},
        },
        "scratch_size": "20Gi",
        "scheduler": {"volumes": {"data": None}},
    }
    found = pod(settings)
    assert found["volumes"] == [
        {"name": "headrace-scratch", "emptyDir": {"sizeLimit": "20Gi"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "d"}},
        {"name": "config", "configMap": {"name": "dask"}},
    ]
    assert found["containers"][0]["volumeMounts"][1:] == [
        {"name": "data", "mountPath": "/data", "readOnly": True},
        {"name": "config", "mountPath": "/etc/dask", "subPath": "dask"},
    ]
    assert [one["name"] for one in pod(settings, spec(Role.SCHEDULER))["volumes"]] == ["headrace-scratch", "config"]


def test_spread_counts_the_pods_of_the_own_cluster_unless_told_otherwise() -> None:
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    found = pod({"topology_spread": [constraint, {**constraint, "labelSelector": {}}]})["topologySpreadConstraints"]
    assert found == [
        {
            **constraint,
            "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "worker"}},
            "matchLabelKeys": ["headrace.dev/cluster"],
        },
        {**constraint, "labelSelector": {}},
    ]


def test_users_choose_the_image() -> None:
    assert container({"image": "a:1"}, spec(image="b:2"))["image"] == "b:2"


def test_without_an_image_it_is_said_where_to_set_one() -> None:
    with pytest.raises(
        BackendError, match=r"profiles\.p\.settings\.image, or for all profiles as backends\.kubernetes"
    ):
        PodTemplates(PodDefaults(), {}).of(spec())


def test_a_pod_may_be_changed_without_changing_the_next_one() -> None:
    made = templates({"labels": {"a": "b"}, "affinity": {"x": {"y": [1]}}, "tolerations": [{"key": "k"}]})
    first = made.of(spec())
    first["metadata"]["labels"]["a"] = "c"
    first["spec"]["affinity"]["x"]["y"].append(2)
    first["spec"]["tolerations"][0]["key"] = "l"
    first["spec"]["securityContext"]["seccompProfile"]["type"] = "Unconfined"
    first["spec"]["containers"][0]["securityContext"]["capabilities"]["drop"].clear()
    first["spec"]["containers"][0]["args"].append("x")
    again = made.of(spec())
    assert again == templates({"labels": {"a": "b"}, "affinity": {"x": {"y": [1]}}, "tolerations": [{"key": "k"}]}).of(
        spec()
    )


def test_namespaces() -> None:
    made = templates({"namespace": "lab"})
    assert (made.namespace("p"), made.namespace("gone"), made.namespaces) == ("lab", "own", {"lab", "own"})
    assert made.of(spec())["metadata"]["namespace"] == "lab"


@pytest.mark.parametrize(
    ("settings", "where", "reason"),
    [
        ({"extra_pod_config": {"restartPolicy": "Always"}}, "extra_pod_config", "restartPolicy cannot be set here"),
        ({"worker": {"extra_pod_config": {"hostNetwork": True}}}, "worker.extra_pod_config", "hostNetwork cannot"),
        ({"extra_pod_config": {"containers": []}}, "extra_pod_config", "write a sidecar into `initContainers`"),
        ({"extra_pod_config": {"activeDeadlineSeconds": None}}, "extra_pod_config", "activeDeadlineSeconds cannot"),
        ({"extra_pod_config": {"volumes": {"a": 1}}}, "extra_pod_config", "volumes must be a list"),
        ({"extra_pod_config": {"volumes": [{"name": "headrace-token"}]}}, "extra_pod_config", "choose another name"),
        ({"volumes": {"headrace-token": {"path": "/x", "source": {"x": 1}}}}, "volumes.headrace-token.[key]", "choose"),
        ({"extra_container_config": {"args": ["x"]}}, "extra_container_config", "write an entry point as `command`"),
        (
            {"extra_container_config": {"env": [{"name": "HEADRACE_CLUSTER"}]}},
            "extra_container_config",
            "headrace's own",
        ),
        (
            {"extra_container_config": {"volumeMounts": [{"mountPath": "/var/run/secrets/headrace.dev/token"}]}},
            "extra_container_config",
            "choose another path",
        ),
        ({"environment": {"HEADRACE_X": "1"}}, "environment.HEADRACE_X.[key]", "headrace's own"),
        ({"environment": {"X": {"secret": "s"}}}, "environment.X", "`key` goes with"),
        ({"environment": {"X": {"secret": "s", "config_map": "c", "key": "k"}}}, "environment.X", "give a text, or"),
        ({"environment": {"X": True}}, "environment.X.value", "put it in quotes"),
        ({"labels": {"headrace.dev/owner": "x"}}, "labels.headrace.dev/owner.[key]", "headrace sets it itself"),
        ({"labels": {"app.kubernetes.io/name": "x"}}, "labels.app.kubernetes.io/name.[key]", "headrace sets it itself"),
        ({"annotations": {"a.headrace.dev/x": "x"}}, "annotations.a.headrace.dev/x.[key]", "headrace sets it itself"),
        ({"labels": {"a": True}}, "labels.a", "put it in quotes"),
        ({"affinity": {"a": [{"b": date(2026, 1, 2)}]}}, "affinity", "a.0.b: is read as a date; put it in quotes"),
        ({"affinity": {"a": {1: 2}}}, "affinity", "a.1: is no text; put the key in quotes"),
        ({"tolerations": [{"x": float("inf")}]}, "tolerations.0", "x: is no number that JSON has"),
        ({"resources": {"a/b": "many"}}, "resources.a/b", "String should match pattern"),
        ({"volumes": {"a": {"path": "/var/run/secrets/headrace.dev/x", "source": {"x": 1}}}}, "volumes.a", "another"),
        ({"image": "a b"}, "image", "String should match pattern"),
        ({"image": "a\n"}, "image", "String should match pattern"),
        ({"termination_grace_period_seconds": 0}, "termination_grace_period_seconds", "greater than or equal to 2"),
        ({"nodeSelector": {}}, "nodeSelector", "Extra inputs"),
        ({"groups": {"g": {"namespace": "x"}}}, "groups.g.namespace", "Extra inputs"),
    ],
)
def test_what_headrace_would_not_work_with_is_refused(settings: dict[str, Any], where: str, reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ProfileSettings.model_validate(settings)
    [error] = caught.value.errors()
    assert ".".join(map(str, error["loc"])) == where
    assert reason in error["msg"]
