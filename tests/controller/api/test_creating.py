"""CreateCluster: what is checked, what makes a new cluster and what does not."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from tests.controller.errors_of import fails, wrong_fields
from tests.controller.running import Replica, Site
from tests.controller.user import User

from headrace._wire.status import from_rpc_error
from headrace.errors import AliasTaken, ClusterNotFound, InvalidRequest, PermissionDenied, QuotaExceeded
from headrace.option_protos import value_from_proto, value_to_proto
from headrace.v1 import cluster_pb2, right_pb2
from headrace.v1 import cluster_service_pb2 as pb

Group = cluster_pb2.WorkerGroup


async def test_defaults_fill_in_what_is_left_out(ann: User) -> None:
    made = await ann.create({"worker_memory": "4 GiB", "worker_cores": 2})
    assert values(made) == {"worker_memory": 4 * 2**30, "worker_cores": 2}
    assert values(await ann.create()) == {"worker_memory": 2 * 2**30, "worker_cores": 1}
    assert [(group.name, group.size) for group in made.spec.worker_groups] == [("default", 0)]
    assert (made.generation, made.etag, made.spec.profile) == (1, "1", "default")


def values(cluster: cluster_pb2.Cluster) -> dict[str, object]:
    return {key: value_from_proto(value) for key, value in cluster.spec.options.items()}


async def test_groups_have_shapes_and_sizes_of_their_own(ann: User, site: Site) -> None:
    options = {"worker_memory": 2**30, "worker_gpus": 1, "worker_resources": {"GPU": 1}, "environment": {"A": "b"}}
    gpu = Group(name="gpu", size=1, options={key: value_to_proto(value) for key, value in options.items()})
    made = await ann.create(worker_groups=[Group(name="cpu", size=2), gpu])
    await ann.until(made.name, "RUNNING", running=3)
    [answer] = [answer for (_, name), answer in site.agents.enrolled.items() if name.startswith("gpu-")]
    assert (answer.worker_memory_bytes, dict(answer.worker_resources)) == (2**30, {"GPU": 1.0})
    assert dict(answer.environment) == {"A": "b"}
    workers = await ann.call("ListWorkers", pb.ListWorkersRequest(parent=made.name))
    assert sorted((worker.group, worker.resources.gpus) for worker in workers.workers) == [
        ("cpu", 0),
        ("cpu", 0),
        ("gpu", 1),
    ]


async def test_every_wrong_field_is_named_at_once(ann: User) -> None:
    group = Group(name="Bad Name", size=-1, adapt=cluster_pb2.AdaptRange(minimum=3, maximum=1))
    group.options["no_such"].string_value = "/x"
    wrong = ann.create(
        {"worker_memroy": 1, "worker_cores": "many", "worker_threads": True},
        alias="Not DNS safe",
        worker_groups=[group, Group(name="twice"), Group(name="twice")],
        tags={"k": "v" * 64},
        request={"request_id": "r" * 65},
    )
    assert await wrong_fields(wrong) == {
        "spec.alias",
        "spec.options.worker_memroy",
        "spec.options.worker_cores",
        "spec.options.worker_threads",
        "spec.worker_groups[0].name",
        "spec.worker_groups[0].size",
        "spec.worker_groups[0].adapt.maximum",
        "spec.worker_groups[0].options.no_such",
        "spec.worker_groups[2].name",
        "spec.tags.k",
        "request_id",
    }


async def test_an_unknown_option_names_the_closest_one(ann: User) -> None:
    error = await fails(InvalidRequest, ann.create({"worker_memroy": 1}))
    assert "did you mean 'worker_memory'?" in error.message


async def test_the_same_request_id_makes_one_cluster(ann: User) -> None:
    asked = pb.CreateClusterRequest(request_id="once")
    made = await asyncio.gather(*(ann.call("CreateCluster", asked) for _ in range(5)))
    assert len({cluster.name for cluster in made}) == 1


async def test_an_alias_is_one_living_clusters_of_its_owner(ann: User, bob: User) -> None:
    first = await ann.create(alias="lab")
    error = await fails(AliasTaken, ann.create(alias="lab"))
    assert error.details["cluster"] == first.name
    assert (await bob.create(alias="lab")).name != first.name
    assert (await ann.get("clusters/~lab")).name == first.name
    await ann.stop("clusters/~lab")
    await ann.until(first.name, "STOPPED")
    assert (await ann.create(alias="lab")).name != first.name


async def test_of_many_who_create_an_alias_at_once_one_has_made_it(ann: User) -> None:
    outcomes = await asyncio.gather(*(ann.create(alias="lab") for _ in range(10)), return_exceptions=True)
    [made] = [outcome for outcome in outcomes if isinstance(outcome, cluster_pb2.Cluster)]
    for outcome in outcomes:
        if isinstance(outcome, grpc.aio.AioRpcError):
            assert from_rpc_error(outcome).details["cluster"] == made.name


async def test_a_repeated_request_returns_its_cluster_also_with_an_alias(ann: User) -> None:
    made = [await ann.create(alias="lab", request={"request_id": "once"}) for _ in range(2)]
    assert made[0].name == made[1].name


async def test_the_groups_of_the_caller_are_kept(controller: Replica) -> None:
    sue = await controller.user("sue", groups=("lab", "staff"))
    assert list((await sue.create()).groups) == ["groups/lab", "groups/staff"]


async def test_an_admin_may_create_for_others(ann: User, bob: User, admin: User) -> None:
    await fails(PermissionDenied, bob.create(request={"owner": "users/ann"}))
    made = await admin.create(request={"owner": "users/ann"})
    assert (made.owner, list(made.groups)) == ("users/ann", [])
    assert (await ann.get(made.name)).name == made.name
    await fails(ClusterNotFound, bob.get(made.name))
    assert (await ann.create(request={"owner": "users/ann"})).owner == "users/ann"


async def test_a_share_may_be_given_at_once(ann: User, bob: User) -> None:
    share = cluster_pb2.Share(member="users/bob", rights=[right_pb2.RIGHT_CLUSTER_CONNECT])
    made = await ann.create(request={"shares": [share]})
    assert list(made.shares) == [share]
    assert (await bob.get(made.name)).name == made.name


async def test_a_profile_chooses_options_and_is_kept(site: Site) -> None:
    options = {"worker_memory": {"choices": ["4 GiB", "8 GiB"], "default": "4 GiB"}}
    replica = await site.replica(profiles={"small": {}, "large": {"label": "Large", "options": options}})
    carl = await replica.user("carl")
    assert (await carl.create()).spec.profile == "small"
    made = await carl.create({"worker_memory": "8 GiB"}, profile="large")
    assert (made.spec.profile, values(made)["worker_memory"]) == ("large", 8 * 2**30)
    wrong = carl.create({"worker_memory": "1 GiB"}, profile="large")
    assert await wrong_fields(wrong) == {"spec.options.worker_memory"}
    assert await wrong_fields(carl.create(profile="huge")) == {"spec.profile"}


async def test_a_limit_binds_exactly_under_a_storm(site: Site) -> None:
    replica = await site.replica(limits={"user": {"clusters": 7}})
    carl = await replica.user("carl")
    outcomes = await asyncio.gather(*(carl.create() for _ in range(30)), return_exceptions=True)
    made = [outcome for outcome in outcomes if isinstance(outcome, cluster_pb2.Cluster)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert (len(made), len(refused)) == (7, 23)
    assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert len((await carl.call("ListClusters", pb.ListClustersRequest())).clusters) == 7


@pytest.mark.parametrize("size", [1001, 10**9, 2**31 - 1])
async def test_absurd_sizes_are_over_the_limit(ann: User, size: int) -> None:
    error = await fails(QuotaExceeded, ann.create(worker_groups=[Group(name="default", size=size)]))
    assert error.details["what"] == "workers"
    assert error.details["limit"] == "1000"


async def test_a_hundred_at_once_all_run_and_others_are_answered_meanwhile(ann: User, bob: User, site: Site) -> None:
    mine = await bob.create()
    await bob.until(mine.name, "RUNNING")
    answers = 0

    async def ask() -> None:
        nonlocal answers
        while True:
            await bob.get(mine.name)
            answers += 1

    asking = asyncio.create_task(ask())
    made = await asyncio.gather(*(ann.create() for _ in range(100)))
    await asyncio.gather(*(ann.until(cluster.name, "RUNNING", within=60) for cluster in made))
    asking.cancel()
    assert len(site.machine.running()) == 101
    assert len(site.machine.starts) == 101  # nothing was started twice
    assert answers > 0  # clients, agents and controller share one event loop here
