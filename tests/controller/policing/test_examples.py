"""The documented policies: each is valid for editors and for us, and does what its page says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import fastjsonschema
import pytest
import yaml
from tests.controller.builders import new_cluster
from tests.controller.errors_of import fails
from tests.controller.running import Replica, Site
from tests.controller.user import User

from headrace.errors import InvalidRequest
from headrace.option_types import BadValue, Bytes, Float
from headrace.v1 import cluster_pb2, options_service_pb2
from headrace_backend_kubernetes import plugin
from headrace_backend_kubernetes.pod_templates import PodTemplates
from headrace_backend_kubernetes.profile_settings import PodDefaults, ProfileSettings
from headrace_controller import resources
from headrace_controller.admission import Admission
from headrace_controller.backends.process import ProcessKey, ProcessSpec, Role
from headrace_controller.model import Group, Limits, Resources
from headrace_controller.policing.changes import changes
from headrace_controller.policing.printed import print_policy
from headrace_controller.policy.file import PolicyFile
from headrace_controller.policy.schema import policy_schema
from headrace_controller.profiles import Person, Profiles, build_profiles

DOCS = Path(__file__).parents[3] / "docs"
EXAMPLES = sorted((DOCS / "policies").glob("*.yaml"))
GIB = 2**30


def read(name: str) -> PolicyFile:
    return PolicyFile.read((DOCS / "policies" / f"{name}.yaml").read_text(encoding="utf-8"))


def profiles(policy: PolicyFile) -> Profiles:
    return build_profiles(policy, {"local": [], "kubernetes": plugin.options(None)}, {"kubernetes": ProfileSettings})


def keys(policy: PolicyFile, *groups: str) -> list[str]:
    return [profile.key for profile in profiles(policy).of(Person(user="ann", groups=groups))]


def options(policy: PolicyFile, profile: str, *groups: str) -> dict[str, Any]:
    person = Person(user="ann", groups=groups)
    return {option.key: option for option in profiles(policy).choose(profile, person).offered(person)}


def limits(policy: PolicyFile, profile: str, *groups: str, user: str = "ann") -> dict[str, Limits]:
    found = Admission(policy, profiles(policy)).shared_limits(user, groups, profile)
    return {subject: bounds for subject, bounds in found.items() if bounds}


# Each of them


def test_there_are_examples() -> None:
    assert [file.stem for file in EXAMPLES] == ["hpc", "hub", "kubernetes", "university"]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_editor_and_a_controller_accept_it(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=../policy.schema.json\n")
    fastjsonschema.compile(json.loads(policy_schema()))(yaml.safe_load(text))
    policy = PolicyFile.read(text)
    profiles(policy)
    assert changes(policy, PolicyFile.read(print_policy(policy))) == []


@pytest.mark.parametrize(
    "wrong",
    ["profils: {}", "limits: {user: {cores: -1}}", "profiles: {a_b: {}}", "culling: {idle: {aftr: 1}}", "version: 2"],
)
def test_an_editor_marks_what_a_controller_refuses(wrong: str) -> None:
    with pytest.raises(fastjsonschema.JsonSchemaException):
        fastjsonschema.compile(json.loads(policy_schema()))(yaml.safe_load(wrong))
    with pytest.raises(ValueError, match="line 1"):
        PolicyFile.read(wrong)


# The hub


def test_on_the_hub_everybody_sees_the_same_and_may_have_a_quarter() -> None:
    hub = read("hub")
    assert keys(hub) == ["standard", "memory"]
    assert options(hub, "standard")["worker_cores"].type == Float(1, 4)
    assert options(hub, "memory")["worker_memory"].default == 32 * GIB
    assert limits(hub, "memory") == {
        "users/ann": Limits(
            {resources.CLUSTERS: 3, resources.WORKERS: 1000, resources.CORES: 16_000, resources.MEMORY: 64 * GIB}
        ),
        "profiles/memory": Limits({resources.MEMORY: 128 * GIB}),
        "deployment": Limits({resources.CORES: 64_000, resources.MEMORY: 256 * GIB}),
    }
    assert hub.culling.idle is not None
    assert hub.culling.nobody_connected is not None
    assert (hub.culling.idle.after, hub.culling.nobody_connected.after, hub.culling.keep) == (1800, 14400, 28800)


# The university


def test_at_the_university_groups_see_different_profiles_and_options() -> None:
    university = read("university")
    assert keys(university, "students") == ["standard"]
    assert keys(university, "research") == ["standard", "gpu"]
    assert options(university, "")["worker_memory"].type == Bytes(GIB, 32 * GIB)
    student = options(university, "", "students")
    assert (student["worker_memory"].type, student["worker_memory"].default) == (Bytes(GIB, 4 * GIB), 2 * GIB)
    assert "size_of_data" in student


def test_at_the_university_limits_bind_the_group_the_user_and_the_service() -> None:
    university = read("university")
    found = limits(university, "standard", "students", "course-101")
    assert found["groups/students"] == Limits({resources.CORES: 400_000})
    assert found["groups/course-101"] == Limits({resources.CORES: 100_000})
    assert found["users/ann"][resources.CLUSTERS] == 5
    service = limits(university, "standard", user="ml-service")["users/ml-service"]
    assert (service[resources.CLUSTERS], service[resources.MEMORY]) == (50, 400 * GIB)
    assert university.roles.operators_of(["course-101"]) == (frozenset({"groups/course-101-teachers"}),)


# The HPC centre


def test_at_the_hpc_centre_projects_have_profiles_and_licences_are_counted() -> None:
    hpc = read("hpc")
    assert keys(hpc, "climate") == ["cpu", "highmem"]
    assert keys(hpc, "engineering") == ["cpu", "solver"]
    assert options(hpc, "highmem", "climate")["worker_memory"].default == 1024 * GIB
    solver = new_cluster(profile="solver", groups=(Group(size=3),))
    assert Admission(hpc, profiles(hpc)).count(solver)[resources.named("solver_licences")] == 3000
    assert limits(hpc, "solver", "engineering")["deployment"][resources.named("solver_licences")] == 40_000
    assert [budget.then for budget in hpc.budgets.groups["climate"]] == ["stop"]


# On Kubernetes


def test_on_kubernetes_users_choose_among_images_and_get_pods_where_the_administrator_wants_them() -> None:
    kubernetes = read("kubernetes")
    assert keys(kubernetes, "data-science") == ["standard", "own-image"]
    assert keys(kubernetes, "research") == ["standard", "own-image", "gpu"]
    standard = options(kubernetes, "standard")["image"].type
    assert standard.check("stable") == "registry.example.org/dask:2026.8"
    with pytest.raises(BadValue, match="must be one of 'stable', 'next'"):
        standard.check("docker.io/miner:1")
    own = options(kubernetes, "own-image")["image"].type
    assert own.check("registry.example.org/teams/a:7") == "registry.example.org/teams/a:7"
    with pytest.raises(BadValue, match=r"must be like registry\.example\.org/teams/"):
        own.check("docker.io/miner:1")
    with pytest.raises(BadValue, match=r"must not be like \*:latest"):
        own.check("registry.example.org/teams/a:latest")

    settings = cast("dict[str, ProfileSettings]", profiles(kubernetes).backend_settings()["kubernetes"])
    templates = PodTemplates(PodDefaults(), settings)

    def pod(profile: str, role: Role, group: str = "default", **resources: Any) -> dict[str, Any]:
        spec = ProcessSpec(
            key=ProcessKey("c", "p"),
            backend="kubernetes",
            role=role,
            generation=1,
            owner="ann",
            agent_token="",
            resources=Resources(cores=1, memory_bytes=GIB, **resources),
            labels={"profile": profile, "group": group},
        )
        return templates.of(spec)["spec"]

    scheduler, worker = pod("standard", Role.SCHEDULER), pod("standard", Role.WORKER)
    assert (scheduler["nodeSelector"], worker["nodeSelector"]) == ({"pool": "on-demand"}, {"pool": "spot"})
    assert {one["key"] for one in worker["tolerations"]} >= {"spot"}
    assert settings["standard"].standby.schedulers > 0
    of_gpus = pod("gpu", Role.WORKER, "gpu", gpus=1)
    assert of_gpus["nodeSelector"] == {"pool": "gpu"}
    assert of_gpus["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod("gpu", Role.WORKER)["nodeSelector"] == {"pool": "on-demand"}


# In a running controller


async def replica(site: Site, name: str) -> Replica:
    return await site.replica(policy_file=DOCS / "policies" / f"{name}.yaml")


async def visible(user: User) -> list[str]:
    listed = await user.ask_options("ListProfiles", options_service_pb2.ListProfilesRequest())
    return [profile.key for profile in listed.profiles]


async def test_the_hub_lets_a_fourth_cluster_wait(site: Site) -> None:
    ann = await (await replica(site, "hub")).user("ann")
    assert await visible(ann) == ["standard", "memory"]
    await fails(InvalidRequest, ann.create({"worker_cores": 5}))
    phases = [(await ann.create()).status.phase for _ in range(4)]
    assert phases == [cluster_pb2.PHASE_STARTING] * 3 + [cluster_pb2.PHASE_QUEUED]


async def test_the_university_offers_students_less(site: Site) -> None:
    university = await replica(site, "university")
    student = await university.user("sue", groups=["students", "course-101"])
    researcher = await university.user("rob", groups=["research"])
    assert (await visible(student), await visible(researcher)) == (["standard"], ["standard", "gpu"])
    large = {"worker_memory": "32 GiB"}
    await fails(InvalidRequest, student.create(large))
    await fails(InvalidRequest, student.create(profile="gpu"))
    cluster = await researcher.create({**large, "size_of_data": "large"})
    assert cluster.spec.options["environment.DATA_SIZE"].string_value == "large"


async def test_the_hpc_centre_counts_licences(site: Site) -> None:
    hpc = await replica(site, "hpc")
    engineer = await hpc.user("eve", groups=["engineering"])
    assert await visible(engineer) == ["cpu", "solver"]
    first, second = [
        await engineer.create(profile="solver", worker_groups=[cluster_pb2.WorkerGroup(name="default", size=size)])
        for size in (40, 1)
    ]
    assert first.status.phase == cluster_pb2.PHASE_STARTING
    assert second.status.phase == cluster_pb2.PHASE_QUEUED
