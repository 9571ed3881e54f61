"""What administrators offer, from the policy to the processes of clusters."""

from __future__ import annotations

import asyncio
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import pytest
from tests.controller.errors_of import fails, wrong_fields
from tests.controller.running import Site
from tests.controller.user import User

from headrace.errors import InternalError, InvalidRequest, PermissionDenied, QuotaExceeded
from headrace.option_protos import value_from_proto, value_to_proto
from headrace.option_types import Bool, OptionValue
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as clusters_pb
from headrace.v1 import options_service_pb2 as pb
from headrace_controller.options.catalogue import Option
from headrace_controller.options.programs import Offer

LAB = {
    "groups": ["lab"],
    "options": {
        "worker_memory": {"maximum": "16 GiB"},
        "speed": {
            "type": "choice",
            "choices": ["slow", "fast"],
            "sets": {"environment.SPEED": "{value}", "worker_cores": {"slow": 0.5, "fast": 2.5}},
        },
    },
    "for_groups": {"heads": {"worker_memory": {"maximum": "64 GiB"}}},
}


async def profiles_of(user: User) -> list[str]:
    return [one.key for one in (await user.ask_options("ListProfiles", pb.ListProfilesRequest())).profiles]


async def options_of(user: User, profile: str) -> dict[str, pb.Option]:
    answer = await user.ask_options("ListOptions", pb.ListOptionsRequest(profile=profile))
    return {option.key: option for option in answer.options}


def group(name: str, size: int = 0, **options: OptionValue) -> cluster_pb2.WorkerGroup:
    return cluster_pb2.WorkerGroup(
        name=name, size=size, options={key: value_to_proto(value) for key, value in options.items()}
    )


async def test_a_hidden_profile_answers_as_one_that_does_not_exist(site: Site) -> None:
    replica = await site.replica(profiles={"lab": LAB, "open": {}})
    ann, eve = await replica.user("ann", groups=["lab"]), await replica.user("eve")
    root = await replica.user("root", "user", "admin")
    assert await profiles_of(ann) == await profiles_of(root) == ["lab", "open"]
    assert await profiles_of(eve) == ["open"]
    assert (await eve.create()).spec.profile == "open"

    async def refusals(profile: str) -> list[str]:
        asked = eve.ask_options("ListOptions", pb.ListOptionsRequest(profile=profile))
        errors = [await fails(InvalidRequest, asked), await fails(InvalidRequest, eve.create(profile=profile))]
        return [str(error).replace(profile, "?") for error in errors]

    assert await refusals("lab") == await refusals("bal")
    assert await wrong_fields(eve.create(profile="lab")) == {"spec.profile"}


def for_ann(*groups: str, **fields: Any) -> dict[str, Any]:
    given = clusters_pb.OwnerGroups(groups=[f"groups/{group}" for group in groups])
    return {"owner": "users/ann", "owner_groups": given, **fields}


async def test_the_owners_groups_decide_about_what_an_admin_creates_for_them(site: Site) -> None:
    replica = await site.replica(
        profiles={"lab": LAB, "open": {}}, limits={"groups": {"lab": {"clusters": 2}, "physics/lasers": {"gpus": 0}}}
    )
    root, ann = await replica.user("root", "user", "admin", groups=["ops"]), await replica.user("ann", groups=["lab"])
    unknown = await fails(InvalidRequest, root.create(profile="lab", request={"owner": "users/ann"}))
    assert "you may choose open (this is for ann, who is in no group that is known: give their groups)" in str(unknown)
    assert (await root.create(request={"owner": "users/ann"})).spec.profile == "open"

    made = await root.create({"speed": "fast"}, request=for_ann("lab", "physics/lasers", "lab"))
    assert (made.spec.profile, list(made.groups)) == ("lab", ["groups/lab", "groups/physics/lasers"])
    large = {"worker_memory": "64 GiB"}
    assert await wrong_fields(root.create(large, request=for_ann("lab"))) == {"spec.options.worker_memory"}
    known = await root.create(profile="lab", request={"owner": "users/ann"})  # from the newest cluster
    assert list(known.groups) == ["groups/lab", "groups/physics/lasers"]
    assert (await fails(QuotaExceeded, root.create(large, request=for_ann("lab", "heads")))).details["subject"] == (
        "groups/lab"
    )
    assert (await fails(QuotaExceeded, ann.create())).details["subject"] == "groups/lab"
    assert list((await root.create(request=for_ann())).groups) == []


async def test_only_admins_say_anothers_groups_and_nobody_their_own(site: Site) -> None:
    replica = await site.replica(profiles={"lab": LAB, "open": {}})
    root, eve, ann = [await replica.user(*who) for who in (("root", "user", "admin"), ("eve",), ("ann",))]
    told = str(await fails(PermissionDenied, eve.create(profile="lab", request=for_ann("lab"))))
    assert told == str(await fails(PermissionDenied, eve.create(profile="none", request={"owner": "users/ann"})))
    assert await wrong_fields(ann.create(request=for_ann("lab"))) == {"owner_groups"}
    assert await wrong_fields(root.create(request=for_ann("lab", owner="users/root"))) == {"owner_groups"}
    assert await wrong_fields(root.create(request={"owner": "ann"})) == {"owner"}
    assert await wrong_fields(root.create(request=for_ann("a", "", "..", "x\n"))) == {
        f"owner_groups.groups[{n}]" for n in (1, 2, 3)
    }
    assert await wrong_fields(root.create(request=for_ann(*map(str, range(1001))))) == {"owner_groups.groups"}


async def test_a_cluster_keeps_a_profile_that_its_owner_does_not_see_any_more(site: Site) -> None:
    replica = await site.replica(profiles={"lab": LAB, "open": {}})
    made = await (await replica.user("ann", groups=["lab"])).create(profile="lab")
    ann = await replica.user("ann")
    assert await profiles_of(ann) == ["open"]
    assert (await ann.get(made.name)).spec.profile == "lab"
    assert (await ann.scale(made.name, 1)).spec.worker_groups[0].size == 1
    groups = [*(await ann.get(made.name)).spec.worker_groups, group("fast", speed="fast")]
    changed = await ann.update(made.name, "spec.worker_groups", spec=cluster_pb2.ClusterSpec(worker_groups=groups))
    assert value_from_proto(changed.spec.worker_groups[1].options["worker_cores"]) == 2.5


async def test_groups_have_larger_bounds(site: Site) -> None:
    replica = await site.replica(profiles={"lab": LAB})
    ann, head = [await replica.user(name, groups=["lab", *more]) for name, more in (("ann", []), ("head", ["heads"]))]
    bounds = [(await options_of(user, "lab"))["worker_memory"].bytes_type.maximum for user in (ann, head)]
    assert bounds == [2**34, 2**36]
    await head.create({"worker_memory": "64 GiB"})
    assert await wrong_fields(ann.create({"worker_memory": "64 GiB"})) == {"spec.options.worker_memory"}
    small = group("small", worker_memory="64 GiB")
    assert await wrong_fields(ann.create(worker_groups=[small])) == {"spec.worker_groups[0].options.worker_memory"}


async def test_processes_get_what_follows_from_options_by_worker_group(site: Site) -> None:
    replica = await site.replica(profiles={"lab": LAB})
    ann = await replica.user("ann", groups=["lab"])
    groups = [
        group("a", 1, worker_memory="7.2 GiB", worker_gpus=2, worker_threads=3),
        group("b", 1, speed="fast", environment={"OMP_NUM_THREADS": "2"}),
    ]
    made = await ann.create({"environment": {"A": "1"}}, worker_groups=groups)
    await ann.until(made.name, "RUNNING", running=2)
    specs = {
        spec.labels.get("group", ""): spec
        for (cluster, _), spec in site.machine.specs.items()
        if made.name.endswith(cluster)
    }
    assert (specs[""].environment, specs["a"].environment) == ({"A": "1", "SPEED": "slow"},) * 2
    assert specs["b"].environment == {"OMP_NUM_THREADS": "2", "SPEED": "fast"}
    a, b = specs["a"].resources, specs["b"].resources
    assert (a.cores, a.memory_bytes, a.gpus) == (0.5, round(7.2 * 2**30), 2)
    assert (b.cores, b.memory_bytes, b.gpus) == (2.5, 2 * 2**30, 0)
    full = await ann.get(made.name)
    assert value_from_proto(full.spec.worker_groups[0].options["worker_threads"]) == 3
    assert value_from_proto(full.spec.options["speed"]) == "slow"


# Python


@pytest.fixture
def code() -> Iterator[Any]:
    """A module of an administrator's."""
    module: Any = types.ModuleType("site_offers")
    sys.modules["site_offers"] = module
    yield module
    del sys.modules["site_offers"]


def offer(user: str, groups: tuple[str, ...]) -> Offer:
    def handler(values: dict[str, OptionValue]) -> dict[str, object]:
        if values["large"] and "lab" not in groups:
            raise ValueError("large workers are for the lab: ask prof@example.org")
        return {"worker_cores": 8 if values["large"] else 1, "environment": {"OWNER": user}}

    large = Option(key="large", label="Large", description="", type=Bool(), default=False, per_group=True)
    return Offer(options=[large], handler=handler)


async def test_a_function_decides_for_clusters_and_for_groups_that_come_later(site: Site, code: Any) -> None:
    code.offer = offer
    replica = await site.replica(profiles={"lab": {"python": "site_offers:offer"}})
    ann, eve = await replica.user("ann", groups=["lab"]), await replica.user("eve")
    assert (await options_of(eve, ""))["large"].WhichOneof("type") == "bool_type"
    made = await ann.create({"large": True}, worker_groups=[group("small", large=False), group("same")])
    values = {key: value_from_proto(value) for key, value in made.spec.options.items()}
    assert (values["worker_cores"], values["environment.OWNER"]) == (8.0, "ann")
    assert value_from_proto(made.spec.worker_groups[0].options["worker_cores"]) == 1.0
    assert made.spec.worker_groups[1].options == {}
    refused = await fails(InvalidRequest, eve.create({"large": True}))
    assert str(refused) == "large workers are for the lab: ask prof@example.org"
    own = await eve.create()
    more = cluster_pb2.ClusterSpec(worker_groups=[*own.spec.worker_groups, group("more", large=True)])
    again = await fails(InvalidRequest, eve.update(own.name, "spec.worker_groups", spec=more))
    assert str(again) == str(refused)
    assert len((await eve.get(own.name)).spec.worker_groups) == 1


async def test_a_function_that_hangs_holds_up_its_own_users_only(site: Site, code: Any) -> None:
    release = threading.Event()

    def hang(*_: object) -> list[Option]:
        release.wait()
        return []

    code.offer = hang
    replica = await site.replica(
        profiles={"open": {}, "slow": {"python": "site_offers:offer", "python_timeout": "0.5 s"}}
    )
    eve, ann = await replica.user("eve"), await replica.user("ann")
    hanging = asyncio.create_task(fails(InternalError, eve.create(profile="slow")))
    assert (await ann.create()).spec.profile == "open"
    assert "did not answer within 0.5 s; tell your administrator" in str(await hanging)
    release.set()


async def test_what_python_raises_is_told_beside_what_else_is_wrong(site: Site, code: Any) -> None:
    code.offer = offer
    replica = await site.replica(profiles={"lab": {"python": "site_offers:offer"}})
    ann, lab = await replica.user("ann"), await replica.user("carl", groups=["lab"])
    wrong = ann.create({"large": True}, alias="No Alias", worker_groups=[group("a", large=True), group("A", -1)])
    error = await fails(InvalidRequest, wrong)
    assert {violation.field for violation in error.violations} == {
        "",
        "spec.worker_groups[1].name",
        "spec.worker_groups[1].size",
        "spec.alias",
    }
    assert str(error).count("large workers are for the lab: ask prof@example.org") == 1
    made = await lab.create({"large": True})
    spec = cluster_pb2.ClusterSpec(worker_groups=[group("new", large=True)], tags={"": "x"})
    plain = await ann.create()
    changed = ann.update(plain.name, "spec.worker_groups", "spec.tags", spec=spec)
    error = await fails(InvalidRequest, changed)
    assert {violation.field for violation in error.violations} == {"", "cluster.spec.tags."}
    assert "large workers are for the lab" in str(error)
    assert not (await ann.get(plain.name)).spec.tags

    def fail(user: str, groups: tuple[str, ...]) -> Offer:
        raise ValueError(f"{user} has left the lab")

    code.offer = fail
    replica = await site.replica("b", profiles={"lab": {"python": "site_offers:offer"}})
    ann = await replica.user("ann")
    error = await fails(InvalidRequest, ann.create({"large": True}, alias="No Alias"))
    assert [violation.field for violation in error.violations] == ["", "spec.alias"]
    assert str(error).startswith("ann has left the lab; spec.alias: ")
    assert str(await fails(InvalidRequest, options_of(ann, "lab"))) == "ann has left the lab"
    assert (await lab.get(made.name)).spec.profile == "lab"
