"""CreateCluster: what is checked, what makes a new cluster and what returns an old one."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from tests.controller.services.errors_of import fails, wrong_fields
from tests.controller.services.running import Site, User

from headrace.errors import AliasTaken, InvalidRequest, QuotaExceeded
from headrace.v1 import cluster_pb2, options_service_pb2
from headrace.v1 import cluster_service_pb2 as pb

Group = cluster_pb2.WorkerGroup


def request(options: dict[str, Any] | None = None, **spec: Any) -> pb.CreateClusterRequest:
    struct = Struct()
    struct.update(options or {})
    return pb.CreateClusterRequest(spec=cluster_pb2.ClusterSpec(options=struct, **spec))


async def test_defaults_fill_in_what_is_left_out(ann: User) -> None:
    made = await ann.create({"worker_memory": "4 GiB", "worker_cores": 2})
    options = dict(made.spec.options)
    assert options == {"worker_memory": 4 * 2**30, "worker_cores": 2}
    assert dict((await ann.create()).spec.options) == {"worker_memory": 2 * 2**30, "worker_cores": 1}
    assert [(group.name, group.size) for group in made.spec.worker_groups] == [("default", 0)]
    assert (made.generation, made.etag) == (1, "1")


async def test_groups_have_shapes_and_sizes_of_their_own(ann: User, site: Site) -> None:
    gpu = Group(name="gpu", size=1)
    gpu.options.update({"worker_memory": 2**30, "worker_resources": {"GPU": 1}, "environment": {"A": "b"}})
    made = await ann.create(worker_groups=[Group(name="cpu", size=2), gpu])
    await ann.until(made.name, "RUNNING", running=3)
    [worker] = [answer for (_, name), answer in site.agents.enrolled.items() if name.startswith("gpu-")]
    assert (worker.worker_memory_bytes, dict(worker.worker_resources)) == (2**30, {"GPU": 1.0})
    assert (worker.worker_group, dict(worker.environment)) == ("gpu", {"A": "b"})


async def test_every_wrong_field_is_named_at_once(ann: User) -> None:
    group = Group(name="Bad Name", size=-1, adapt=cluster_pb2.AdaptRange(minimum=3, maximum=1))
    group.options.update({"conda_prefix": "/x"})
    asked = request(
        {"worker_memroy": 1, "worker_cores": "many", "worker_threads": True, "environment": {"A": 1}},
        alias="Not DNS safe",
        worker_groups=[group, Group(name="twice"), Group(name="twice")],
        tags={"k": "v" * 64},
        stop=True,
    )
    asked.request_id = "r" * 65
    assert await wrong_fields(ann.call("CreateCluster", asked)) == {
        "spec.alias",
        "spec.options.worker_memroy",
        "spec.options.worker_cores",
        "spec.options.worker_threads",
        "spec.options.environment",
        "spec.worker_groups[0].name",
        "spec.worker_groups[0].size",
        "spec.worker_groups[0].adapt.maximum",
        "spec.worker_groups[0].options.conda_prefix",
        "spec.worker_groups[2].name",
        "spec.tags.k",
        "spec.stop",
        "request_id",
    }


async def test_an_unknown_option_names_the_closest_one(ann: User) -> None:
    error = await fails(InvalidRequest, ann.call("CreateCluster", request({"worker_memroy": 1})))
    assert "did you mean 'worker_memory'?" in error.message


@pytest.mark.parametrize(
    "spec",
    [
        {"worker_groups": [Group(name=f"g{n}") for n in range(65)]},
        {"tags": {f"t{n}": "" for n in range(33)}},
        {"tags": {"": "x"}},
        {"options": {f"o{n}": 1 for n in range(65)}},
    ],
)
async def test_too_much_of_anything_is_refused(ann: User, spec: dict[str, Any]) -> None:
    assert len(await wrong_fields(ann.call("CreateCluster", request(**spec)))) == 1


async def test_the_same_request_id_makes_one_cluster(ann: User) -> None:
    asked = pb.CreateClusterRequest(request_id="once")
    made = await asyncio.gather(*(ann.call("CreateCluster", asked) for _ in range(5)))
    assert len({cluster.name for cluster in made}) == 1


async def test_an_alias_gets_or_creates(ann: User, bob: User) -> None:
    first = await ann.create(alias="lab")
    assert (await ann.create(alias="lab")).name == first.name
    assert (await bob.create(alias="lab")).name != first.name
    assert (await ann.get("clusters/~lab")).name == first.name

    must_create = pb.CreateClusterRequest(spec=cluster_pb2.ClusterSpec(alias="lab"), must_create=True)
    error = await fails(AliasTaken, ann.call("CreateCluster", must_create))
    assert error.details["cluster"] == first.name


async def test_a_limit_binds_exactly_under_a_storm(site: Site) -> None:
    replica = await site.replica(limits={"user": {"clusters": 7}})
    carl = await replica.user("carl")
    outcomes = await asyncio.gather(*(carl.create() for _ in range(30)), return_exceptions=True)
    made = [outcome for outcome in outcomes if isinstance(outcome, cluster_pb2.Cluster)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert (len(made), len(refused)) == (7, 23)
    assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert len(await_names(await carl.call("ListClusters", pb.ListClustersRequest()))) == 7


def await_names(response: pb.ListClustersResponse) -> list[str]:
    return [cluster.name for cluster in response.clusters]


@pytest.mark.parametrize("size", [1001, 10**9, 2**31 - 1])
async def test_absurd_sizes_are_over_the_limit(ann: User, size: int) -> None:
    error = await fails(QuotaExceeded, ann.create(worker_groups=[Group(name="default", size=size)]))
    assert error.details["what"] == "workers"
    assert error.details["limit"] == "1000"


async def test_options_are_listed_with_types_and_defaults(ann: User) -> None:
    answer = await ann.options_stub.ListOptions(options_service_pb2.ListOptionsRequest(), metadata=ann.metadata)
    options = {option.key: option for option in answer.options}
    assert options["worker_memory"].default_value.number_value == 2 * 2**30
    assert options["worker_memory"].WhichOneof("type") == "bytes_type"
    assert options["worker_threads"].int_type.maximum == 1024
    assert options["worker_cores"].float_type.minimum == 0.01
    assert options["environment"].WhichOneof("type") == "mapping_type"
    assert options["start_command"].WhichOneof("type") == "list_type"
    assert not options["conda_prefix"].per_group


async def test_a_hundred_at_once_all_run_and_nobody_else_waits(ann: User, bob: User, site: Site) -> None:
    mine = await bob.create()
    slowest = 0.0
    done = asyncio.Event()

    async def look() -> None:
        nonlocal slowest
        loop = asyncio.get_running_loop()
        while not done.is_set():
            start = loop.time()
            await bob.get(mine.name)
            slowest = max(slowest, loop.time() - start)
            await asyncio.sleep(0.005)

    looking = asyncio.create_task(look())
    made = await asyncio.gather(*(ann.create() for _ in range(100)))
    await asyncio.gather(*(ann.until(cluster.name, "RUNNING", within=60) for cluster in made))
    done.set()
    await looking
    assert len(site.machine.running()) == 101
    assert len(site.machine.starts) == 101  # nothing was started twice
    assert slowest < 5.0  # clients, agents and controller share one event loop here
