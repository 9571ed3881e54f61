"""Get, List, workers and events: what is shown, to whom, in which pages."""

from __future__ import annotations

from random import Random

import grpc
import pytest
from tests.controller.errors_of import fails, wrong_fields
from tests.controller.running import Site
from tests.controller.user import User

from headrace.errors import ClusterNotFound, PermissionDenied, TokenInvalid
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.paging import make_token


async def test_without_a_token_nothing_is_told(ann: User) -> None:
    await fails(TokenInvalid, ann.stub.GetCluster(pb.GetClusterRequest(name="clusters/c1"), timeout=30))


@pytest.mark.parametrize("name", ["", "clusters/", "c1", "users/x", "clusters/a/b", "clusters/" + "x" * 300])
async def test_a_malformed_name_is_said_to_be_one(ann: User, name: str) -> None:
    assert await wrong_fields(ann.get(name)) == {"name"}


@pytest.mark.parametrize("name", ["clusters/nope", "clusters/~nope"])
async def test_an_unknown_cluster_is_not_found(ann: User, name: str) -> None:
    await fails(ClusterNotFound, ann.get(name))


async def test_a_read_after_a_write_shows_it(ann: User) -> None:
    made = await ann.create()
    for size in range(1, 6):
        await ann.scale(made.name, size)
        assert (await ann.get(made.name)).spec.worker_groups[0].size == size
        listed = await ann.call("ListClusters", pb.ListClustersRequest())
        assert listed.clusters[0].spec.worker_groups[0].size == size


async def test_a_list_shows_what_other_replicas_have_written(ann: User, site: Site) -> None:
    other = await (await site.replica("b")).user("ann")
    made = await ann.create(tags={"a": "1"})
    views = (pb.CLUSTER_VIEW_BASIC, pb.CLUSTER_VIEW_FULL)

    async def listed(caller: User) -> list[list[tuple[str, str]]]:
        answers = [await caller.call("ListClusters", pb.ListClustersRequest(view=view)) for view in views]
        return [[(cluster.etag, cluster.spec.tags["a"]) for cluster in answer.clusters] for answer in answers]

    assert await listed(ann) == [[("1", "1")]] * 2
    await other.update(made.name, "spec.tags", spec=cluster_pb2.ClusterSpec(tags={"a": "2"}))
    assert await listed(ann) == await listed(ann) == [[("2", "2")]] * 2
    await other.update(made.name, "spec.tags", spec=cluster_pb2.ClusterSpec(tags={"a": "1"}))
    assert await listed(ann) == [[("3", "1")]] * 2
    await other.stop(made.name)
    await other.until(made.name, "STOPPED")
    assert await listed(ann) == [[]] * 2


async def test_lists_come_in_pages_newest_first(ann: User, bob: User) -> None:
    made = [(await ann.create()).name for _ in range(5)]
    await bob.create()
    request = pb.ListClustersRequest(page_size=2)
    pages: list[list[str]] = []
    while True:
        answer = await ann.call("ListClusters", request)
        pages.append([cluster.name for cluster in answer.clusters])
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert [name for page in pages for name in page] == made[::-1]
    assert max(map(len, pages)) == 2


async def test_lists_are_filtered_by_phase_and_tags(ann: User) -> None:
    living = await ann.create(tags={"team": "a", "cost": "1"})
    ended = await ann.create(tags={"team": "a"})
    await ann.stop(ended.name)
    await ann.until(ended.name, "STOPPED")

    async def names(**filters: object) -> set[str]:
        wanted = pb.ClusterFilter(**filters)  # pyright: ignore[reportArgumentType]
        answer = await ann.call("ListClusters", pb.ListClustersRequest(filter=wanted))
        return {cluster.name for cluster in answer.clusters}

    await ann.until(living.name, "RUNNING")
    assert await names() == {living.name}
    assert await names(phases=[cluster_pb2.PHASE_STOPPED]) == {ended.name}
    assert await names(phases=[cluster_pb2.PHASE_STOPPED, cluster_pb2.PHASE_RUNNING]) == {living.name, ended.name}
    assert await names(phases=[cluster_pb2.PHASE_QUEUED]) == set()
    assert await names(tags={"team": "a"}) == {living.name}
    assert await names(tags={"team": "b"}) == set()
    assert await names(profile="default") == {living.name}
    assert await names(profile="other") == set()


async def test_only_admins_list_others(ann: User, bob: User, admin: User) -> None:
    made = await ann.create()
    for owner in ("users/ann", "users/-"):
        request = pb.ListClustersRequest(filter=pb.ClusterFilter(owner=owner))
        await fails(PermissionDenied, bob.call("ListClusters", request))
        answer = await admin.call("ListClusters", request)
        assert [cluster.name for cluster in answer.clusters] == [made.name]


async def test_a_page_token_belongs_to_its_request_and_its_caller(ann: User, admin: User) -> None:
    for _ in range(3):
        await ann.create()
    token = (await ann.call("ListClusters", pb.ListClustersRequest(page_size=1))).next_page_token
    for request in (
        pb.ListClustersRequest(page_token=token, filter=pb.ClusterFilter(tags={"a": "b"})),
        pb.ListClustersRequest(page_token=token, view=pb.CLUSTER_VIEW_FULL),
        pb.ListClustersRequest(page_token="not base64 !"),
        pb.ListClustersRequest(page_token="aaaa"),
        pb.ListClustersRequest(page_token=token[:-2]),
    ):
        assert await wrong_fields(ann.call("ListClusters", request)) == {"page_token"}
    request = pb.ListClustersRequest(page_token=token, filter=pb.ClusterFilter(owner="users/ann"))
    assert await wrong_fields(admin.call("ListClusters", request)) == {"page_token"}


@pytest.mark.parametrize("cursor", ["x", "-1", "1" * 20, "(", "1-1-1"])
async def test_a_page_token_that_somebody_made_up_is_refused(ann: User, cursor: str) -> None:
    made = await ann.create()
    for method, request in (
        ("ListClusters", pb.ListClustersRequest()),
        ("ListClusterEvents", pb.ListClusterEventsRequest(parent=made.name)),
    ):
        request.page_token = make_token(request, cursor, caller="ann")
        assert await wrong_fields(ann.call(method, request)) == {"page_token"}


async def test_no_made_up_page_token_is_an_error_of_the_service(ann: User) -> None:
    made, random, codes = await ann.create(), Random(7), set[grpc.StatusCode]()
    for _ in range(100):
        cursor = "".join(random.choices("0123456789-é\0", weights=[3] * 10 + [5, 1, 1], k=random.randint(1, 30)))
        for method, request in (
            ("ListClusters", pb.ListClustersRequest()),
            ("ListClusterEvents", pb.ListClusterEventsRequest(parent=made.name)),
            ("ListWorkers", pb.ListWorkersRequest(parent=made.name)),
        ):
            request.page_token = make_token(request, cursor, caller="ann")
            try:
                await ann.call(method, request)
            except grpc.aio.AioRpcError as error:
                codes.add(error.code())
    assert codes == {grpc.StatusCode.INVALID_ARGUMENT}


@pytest.mark.parametrize("size", [-1, 1001])
async def test_page_sizes_have_bounds(ann: User, size: int) -> None:
    assert await wrong_fields(ann.call("ListClusters", pb.ListClustersRequest(page_size=size))) == {"page_size"}


async def test_an_unknown_phase_is_refused(ann: User) -> None:
    request = pb.ListClustersRequest(filter=pb.ClusterFilter(phases=[77]))  # pyright: ignore[reportArgumentType]
    assert await wrong_fields(ann.call("ListClusters", request)) == {"filter.phases"}


async def test_a_basic_view_leaves_out_what_is_long(ann: User) -> None:
    made = await ann.create({"worker_cores": 2})
    await ann.until(made.name, "RUNNING")
    views = (pb.CLUSTER_VIEW_UNSPECIFIED, pb.CLUSTER_VIEW_BASIC, pb.CLUSTER_VIEW_FULL)
    answers = [await ann.call("ListClusters", pb.ListClustersRequest(view=view)) for view in views]
    unspecified, basic, full = (answer.clusters[0] for answer in answers)
    assert unspecified == basic
    assert not basic.spec.options
    assert not basic.status.conditions
    assert full == await ann.get(made.name)
    assert full.spec.options["worker_cores"].double_value == 2


async def test_a_read_may_name_what_it_has_seen(ann: User, site: Site) -> None:
    made = await ann.create()
    other = await (await site.replica("b")).user("ann")
    for size in range(1, 6):
        scaled = await ann.scale(made.name, size)
        found = await other.get(made.name, resource_version=scaled.resource_version)
        assert found.spec.worker_groups[0].size == size
    assert (await ann.get(made.name, resource_version="9" * 19)).name == made.name  # that will never be: read freshly
    assert await wrong_fields(ann.get(made.name, resource_version="rubbish")) == {"resource_version"}
    await fails(ClusterNotFound, ann.get("clusters/nope", resource_version="1"))


async def test_a_write_by_one_replica_is_read_from_another(ann: User, site: Site) -> None:
    other = await (await site.replica("b")).user("ann")
    made = await ann.create(alias="lab")
    for size in range(1, 6):
        await ann.scale(made.name, size)
        assert (await other.get("clusters/~lab")).spec.worker_groups[0].size == size
        listed = await other.call("ListClusters", pb.ListClustersRequest())
        assert listed.clusters[0].spec.worker_groups[0].size == size


async def test_workers_and_events_come_in_pages(ann: User) -> None:
    made = await ann.create(worker_groups=[cluster_pb2.WorkerGroup(name="default", size=3)])
    await ann.until(made.name, "RUNNING", running=3)
    workers = await ann.call("ListWorkers", pb.ListWorkersRequest(parent=made.name, page_size=2))
    rest = await ann.call(
        "ListWorkers", pb.ListWorkersRequest(parent=made.name, page_size=2, page_token=workers.next_page_token)
    )
    names = [worker.name for worker in [*workers.workers, *rest.workers]]
    assert len(names) == 3
    assert names == sorted(names)
    assert all(name.startswith(f"{made.name}/workers/default-") for name in names)
    assert {worker.state for worker in workers.workers} == {cluster_pb2.WORKER_STATE_RUNNING}
    assert not rest.next_page_token

    types: list[int] = []
    names = []
    request = pb.ListClusterEventsRequest(parent=made.name, page_size=2)
    while not types or request.page_token:
        answer = await ann.call("ListClusterEvents", request)
        types += [event.type for event in answer.cluster_events]
        names += [event.name for event in answer.cluster_events]
        request.page_token = answer.next_page_token
    assert types[0] == cluster_pb2.EVENT_TYPE_CREATED
    assert cluster_pb2.EVENT_TYPE_RUNNING in types
    assert all(name.startswith(f"{made.name}/events/") for name in names)
    assert len(set(names)) == len(names)
