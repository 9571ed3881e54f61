"""Get, List, workers and events: what is shown, to whom, in which pages."""

from __future__ import annotations

import pytest
from tests.controller.services.errors_of import fails, wrong_fields
from tests.controller.services.running import User

from headrace.errors import ClusterNotFound, InvalidRequest, PermissionDenied, TokenInvalid
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb


async def test_what_is_somebody_elses_does_not_exist(ann: User, bob: User, admin: User) -> None:
    made = await ann.create()
    calls = {
        "GetCluster": pb.GetClusterRequest(name=made.name),
        "ScaleCluster": pb.ScaleClusterRequest(name=made.name, size=1),
        "AdaptCluster": pb.AdaptClusterRequest(name=made.name),
        "ConnectCluster": pb.ConnectClusterRequest(name=made.name),
        "ListWorkers": pb.ListWorkersRequest(parent=made.name),
        "ListClusterEvents": pb.ListClusterEventsRequest(parent=made.name),
        "StopCluster": pb.StopClusterRequest(name=made.name),
    }
    for method, request in calls.items():
        await fails(ClusterNotFound, bob.call(method, request))
        await admin.call(method, request)
    for method, request in {
        "WatchClusters": pb.WatchClustersRequest(name=made.name),
        "ReadLogs": pb.ReadLogsRequest(parent=made.name),
    }.items():
        await fails(ClusterNotFound, bob.stream(method, request).read())


async def test_without_a_token_nothing_is_told(ann: User) -> None:
    await fails(TokenInvalid, ann.stub.GetCluster(pb.GetClusterRequest(name="clusters/c1"), timeout=5))


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
        answer = await ann.call("ListClusters", pb.ListClustersRequest(**filters))  # pyright: ignore[reportArgumentType]
        return {cluster.name for cluster in answer.clusters}

    await ann.until(living.name, "RUNNING")
    assert await names() == {living.name}
    assert await names(phases=[cluster_pb2.PHASE_STOPPED]) == {ended.name}
    assert await names(phases=[cluster_pb2.PHASE_STOPPED, cluster_pb2.PHASE_RUNNING]) == {living.name, ended.name}
    assert await names(phases=[cluster_pb2.PHASE_QUEUED]) == set()
    assert await names(tags={"team": "a"}) == {living.name}
    assert await names(tags={"team": "b"}) == set()


async def test_only_admins_list_others(ann: User, bob: User, admin: User) -> None:
    made = await ann.create()
    await fails(PermissionDenied, bob.call("ListClusters", pb.ListClustersRequest(owner="users/ann")))
    await fails(PermissionDenied, bob.call("ListClusters", pb.ListClustersRequest(owner="users/-")))
    for owner in ("users/ann", "users/-"):
        answer = await admin.call("ListClusters", pb.ListClustersRequest(owner=owner))
        assert [cluster.name for cluster in answer.clusters] == [made.name]


async def test_a_page_token_belongs_to_its_request_and_its_caller(ann: User, admin: User) -> None:
    for _ in range(3):
        await ann.create()
    token = (await ann.call("ListClusters", pb.ListClustersRequest(page_size=1))).next_page_token
    for request in (
        pb.ListClustersRequest(page_token=token, tags={"a": "b"}),
        pb.ListClustersRequest(page_token="not base64 !"),
        pb.ListClustersRequest(page_token="aaaa"),
        pb.ListClustersRequest(page_token=token[:-2]),
    ):
        assert await wrong_fields(ann.call("ListClusters", request)) == {"page_token"}
    request = pb.ListClustersRequest(page_token=token, owner="users/ann")
    assert await wrong_fields(admin.call("ListClusters", request)) == {"page_token"}


@pytest.mark.parametrize("size", [-1, 1001])
async def test_page_sizes_have_bounds(ann: User, size: int) -> None:
    assert await wrong_fields(ann.call("ListClusters", pb.ListClustersRequest(page_size=size))) == {"page_size"}


async def test_an_unknown_phase_is_refused(ann: User) -> None:
    await fails(InvalidRequest, ann.call("ListClusters", pb.ListClustersRequest(phases=[77])))  # pyright: ignore[reportArgumentType]


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

    types: list[str] = []
    request = pb.ListClusterEventsRequest(parent=made.name, page_size=2)
    while not types or request.page_token:
        answer = await ann.call("ListClusterEvents", request)
        types += [event.type for event in answer.events]
        request.page_token = answer.next_page_token
    assert types[0] == "Created"
    assert "Running" in types
