"""ClusterService: lists and watches."""

from __future__ import annotations

from typing import Any

from tests.controller.errors_of import fails, wrong_fields
from tests.controller.user import User
from tests.controller.watches import until_checkpoint, watch

from headrace.errors import PermissionDenied
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb

Group = cluster_pb2.WorkerGroup


async def pages(user: User, method: str, field: str, request: Any) -> list[Any]:
    """All results, page by page."""
    found: list[Any] = []
    while True:
        answer = await user.call(method, request)
        found += getattr(answer, field)
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


async def listed(user: User, view: Any = pb.CLUSTER_VIEW_BASIC, **wanted: Any) -> list[Any]:
    request = pb.ListClustersRequest(filter=pb.ClusterFilter(**wanted), view=view, page_size=2)
    return await pages(user, "ListClusters", "clusters", request)


async def test_my_living_clusters_are_listed_newest_first(ann: User, bob: User) -> None:
    made = [(await ann.create()).name for _ in range(5)]
    await bob.create()
    await ann.stop(made[0])
    await ann.until(made[0], "STOPPED")
    assert [cluster.name for cluster in await listed(ann)] == made[:0:-1]
    ended = await listed(ann, phases=[cluster_pb2.PHASE_STOPPED, cluster_pb2.PHASE_FAILED])
    assert [cluster.name for cluster in ended] == [made[0]]


async def test_lists_are_filtered(ann: User, bob: User) -> None:
    made = await ann.create(tags={"team": "a", "cost": "1"})
    await ann.create(tags={"team": "b"})
    assert [cluster.name for cluster in await listed(ann, tags={"team": "a"})] == [made.name]
    assert await listed(ann, profile="no-such-profile") == []
    assert len(await listed(ann, profile=made.spec.profile)) == 2
    await fails(PermissionDenied, listed(bob, owner="users/ann"))
    await fails(PermissionDenied, listed(bob, owner="users/-"))


async def test_the_basic_view_leaves_out_what_is_long(ann: User) -> None:
    made = await ann.create({"worker_cores": 2})
    await ann.until(made.name, "RUNNING")
    [basic], [full] = await listed(ann), await listed(ann, pb.CLUSTER_VIEW_FULL)
    assert (len(basic.spec.options), len(basic.status.conditions)) == (0, 0)
    assert full.spec.options == (await ann.get(made.name)).spec.options
    assert len(full.spec.options) > 0


async def test_page_tokens_are_for_their_own_request(ann: User) -> None:
    for _ in range(5):
        await ann.create()
    wrong = pb.ListClustersRequest(page_token="rubbish")
    assert await wrong_fields(ann.call("ListClusters", wrong)) == {"page_token"}
    assert await wrong_fields(ann.call("ListClusters", pb.ListClustersRequest(page_size=1001))) == {"page_size"}


async def test_workers_are_listed_by_name(ann: User) -> None:
    made = await ann.create(worker_groups=[Group(name="default", size=3), Group(name="other", size=2)])
    await ann.until(made.name, "RUNNING", running=5)
    workers = await pages(ann, "ListWorkers", "workers", pb.ListWorkersRequest(parent=made.name, page_size=2))
    names = [worker.name for worker in workers]
    assert (len(names), names) == (5, sorted(names))
    assert all(name.startswith(f"{made.name}/workers/") for name in names)
    assert [worker.group for worker in workers].count("other") == 2
    assert {worker.state for worker in workers} == {cluster_pb2.WORKER_STATE_RUNNING}


async def test_events_are_listed_oldest_first_each_with_a_name(ann: User) -> None:
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    request = pb.ListClusterEventsRequest(parent=made.name, page_size=2)
    events = await pages(ann, "ListClusterEvents", "cluster_events", request)
    assert len(events) > 0
    assert all(event.name.startswith(f"{made.name}/events/") for event in events)
    assert len({event.name for event in events}) == len(events)
    assert all(event.type and event.severity and event.message and event.time.seconds for event in events)


# Watches


async def test_a_watch_of_one_is_its_state_a_checkpoint_then_changes(ann: User) -> None:
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    async with watch(ann, name=made.name) as call:
        state, checkpoint = await until_checkpoint(call)
        assert (state.cluster.name, state.cluster.status.phase) == (made.name, cluster_pb2.PHASE_RUNNING)
        assert checkpoint.resume_token
        await ann.scale(made.name, 1)
        generation = 0
        while generation < 2:
            response = await call.read()
            assert response.resume_token
            generation = response.cluster.generation


async def test_events_are_sent_to_those_who_ask_for_them(ann: User) -> None:
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    async with watch(ann, name=made.name) as call:
        assert [response.HasField("event") for response in await until_checkpoint(call)] == [False, False]
    async with watch(ann, name=made.name, include_events=True) as call:
        responses = await until_checkpoint(call)
        assert sum(response.HasField("event") for response in responses) > 0


async def test_a_watch_goes_on_where_another_one_ended(ann: User) -> None:
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    async with watch(ann, name=made.name) as call:
        token = (await until_checkpoint(call))[-1].resume_token
    await ann.scale(made.name, 1)
    async with watch(ann, name=made.name, resume_token=token) as call:
        generation = 0
        while generation < 2:
            generation = (await call.read()).cluster.generation


async def test_a_watch_of_all_clusters_of_mine_has_those_that_come_and_those_that_end(ann: User, bob: User) -> None:
    made, _ = await ann.create(), await bob.create()
    async with watch(ann, filter=pb.ClusterFilter()) as call:
        assert {step.cluster.name for step in await until_checkpoint(call) if step.HasField("cluster")} == {made.name}
        other = await ann.create()
        await ann.stop(made.name)
        seen = dict[str, Any]()
        while seen.get(made.name) != cluster_pb2.PHASE_STOPPED or other.name not in seen:
            step = await call.read()
            seen[step.cluster.name] = step.cluster.status.phase
    assert set(seen) <= {made.name, other.name, ""}  # "" is a checkpoint
    await fails(PermissionDenied, _first(bob, filter=pb.ClusterFilter(owner="users/-")))


async def _first(user: User, **request: Any) -> Any:
    async with watch(user, **request) as call:
        return await call.read()
