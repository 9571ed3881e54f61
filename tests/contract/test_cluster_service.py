"""ClusterService: creating, changing and ending clusters."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration
from tests.controller.errors_of import fails, wrong_fields
from tests.controller.user import User

from headrace.errors import (
    AliasTaken,
    ClusterEnded,
    ClusterNotEnded,
    ClusterNotFound,
    GroupNotFound,
    StaleEtag,
    TokenInvalid,
    WorkerNotFound,
)
from headrace.v1 import cluster_pb2, error_reason_pb2, right_pb2
from headrace.v1 import cluster_service_pb2 as pb

AdaptRange = cluster_pb2.AdaptRange
Group = cluster_pb2.WorkerGroup

# CreateCluster, GetCluster


async def test_a_new_cluster_is_named_owned_and_living(ann: User) -> None:
    made = await ann.create(alias="lab", tags={"team": "a"})
    assert made.name.startswith("clusters/")
    assert (made.owner, made.spec.alias, dict(made.spec.tags)) == ("users/ann", "lab", {"team": "a"})
    assert made.spec.profile
    assert [(group.name, group.size) for group in made.spec.worker_groups] == [("default", 0)]
    assert made.status.phase in {cluster_pb2.PHASE_STARTING, cluster_pb2.PHASE_RUNNING}
    assert made.create_time.seconds
    assert not made.HasField("end_time")
    assert (made.generation, bool(made.etag), bool(made.resource_version)) == (1, True, True)
    for name in (made.name, "clusters/~lab"):
        assert (await ann.get(name)).name == made.name


async def test_an_alias_that_looks_like_an_id_is_refused(ann: User) -> None:
    assert await wrong_fields(ann.create(alias="convectionexperiment")) == {"spec.alias"}


async def test_a_taken_alias_names_the_cluster_that_has_it_until_it_stops(ann: User, bob: User) -> None:
    outcomes = await asyncio.gather(*(ann.create(alias="lab") for _ in range(5)), return_exceptions=True)
    [made] = [outcome for outcome in outcomes if isinstance(outcome, cluster_pb2.Cluster)]
    error = await fails(AliasTaken, ann.create(alias="lab"))
    assert error.details["cluster"] == made.name
    assert (await bob.create(alias="lab")).name != made.name
    await ann.stop(made.name)
    assert (await ann.create(alias="lab")).name != made.name


async def test_a_repeated_request_makes_one_cluster(ann: User, bob: User) -> None:
    names = {(await ann.create(alias="lab", request={"request_id": "once"})).name for _ in range(3)}
    assert len(names) == 1
    assert (await bob.create(request={"request_id": "once"})).name not in names


async def test_what_is_wrong_with_a_request_is_named(ann: User) -> None:
    assert await wrong_fields(ann.create({"no_such_option": 1})) == {"spec.options.no_such_option"}
    assert await wrong_fields(ann.create(profile="no-such-profile")) == {"spec.profile"}


@pytest.mark.parametrize("name", ["", "clusters/", "c1", "users/x"])
async def test_a_malformed_name_is_told(ann: User, name: str) -> None:
    assert await wrong_fields(ann.get(name)) == {"name"}


async def test_what_is_anothers_does_not_exist(ann: User, bob: User) -> None:
    made = await ann.create(alias="lab")
    for call in (
        bob.get(made.name),
        bob.get("clusters/~lab"),
        bob.get("clusters/nope"),
        bob.scale(made.name, 1),
        bob.stop(made.name),
        bob.delete(made.name),
        bob.call("ConnectCluster", pb.ConnectClusterRequest(name=made.name)),
        bob.call("ListWorkers", pb.ListWorkersRequest(parent=made.name)),
        bob.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=made.name)),
        bob.stream("WatchClusters", pb.WatchClustersRequest(name=made.name)).read(),
        bob.stream("ReadLogs", pb.ReadLogsRequest(name=made.name)).read(),
    ):
        await fails(ClusterNotFound, call)


async def test_without_a_token_nothing_is_told(ann: User) -> None:
    made = await ann.create()
    await fails(TokenInvalid, ann.stub.GetCluster(pb.GetClusterRequest(name=made.name), timeout=30))


async def test_a_read_that_names_a_version_is_no_older(ann: User) -> None:
    made = await ann.create()
    scaled = await ann.scale(made.name, 2)
    again = await ann.get(made.name, resource_version=scaled.resource_version)
    assert again.generation == scaled.generation


# ScaleCluster, AdaptCluster, UpdateCluster


async def test_workers_come_and_go_as_they_are_asked_for(ann: User) -> None:
    made = await ann.create(worker_groups=[Group(name="default", size=1)])
    await ann.until(made.name, "RUNNING", running=1)
    for size in (3, 1):
        scaled = await ann.scale(made.name, size)
        assert (scaled.spec.worker_groups[0].size, scaled.status.worker_groups[0].desired) == (size, size)
        await ann.until(made.name, "RUNNING", running=size)


async def test_each_change_of_the_spec_is_a_generation_with_an_etag_of_its_own(ann: User) -> None:
    made = await ann.create()
    scaled = await ann.scale(made.name, 1)
    assert (scaled.generation, scaled.etag == made.etag) == (2, False)
    running = await ann.until(made.name, "RUNNING", running=1)
    assert (running.generation, running.etag) == (2, scaled.etag)
    await fails(StaleEtag, ann.scale(made.name, 2, etag=made.etag))
    assert (await ann.scale(made.name, 2, etag=scaled.etag)).generation == 3


async def test_sizes_that_cannot_be_change_nothing(ann: User) -> None:
    made = await ann.create()
    assert await wrong_fields(ann.scale(made.name, -1)) == {"size"}
    await fails(GroupNotFound, ann.scale(made.name, 1, group="nope"))
    wrong = ann.adapt(made.name, AdaptRange(minimum=3, maximum=1))
    assert await wrong_fields(wrong) == {"adapt.maximum"}
    assert (await ann.get(made.name)).generation == 1


async def test_a_maximum_beyond_the_limit_becomes_the_limit(ann: User) -> None:
    made = await ann.create()
    adapted = await ann.adapt(made.name, AdaptRange(minimum=0, maximum=10**6))
    assert 0 < adapted.spec.worker_groups[0].adapt.maximum <= 1000


async def test_adaptive_scaling_begins_and_ends(ann: User) -> None:
    made = await ann.create()
    adapted = await ann.adapt(made.name, AdaptRange(minimum=2))
    group = adapted.spec.worker_groups[0]
    assert (group.adapt.minimum, group.adapt.HasField("maximum")) == (2, False)
    assert adapted.status.worker_groups[0].desired == 2
    await ann.until(made.name, "RUNNING", running=2)
    ended = await ann.adapt(made.name, None)
    assert not ended.spec.worker_groups[0].HasField("adapt")
    assert ended.spec.worker_groups[0].size == 2


async def test_an_update_replaces_what_its_mask_names(ann: User) -> None:
    made = await ann.create(tags={"a": "b"})
    spec = cluster_pb2.ClusterSpec(tags={"c": "d"}, lifetime=Duration(seconds=60), worker_groups=[Group(name="new")])
    assert dict((await ann.update(made.name, "spec.tags", spec=spec)).spec.tags) == {"c": "d"}
    share = cluster_pb2.Share(member="users/bob", rights=[right_pb2.RIGHT_CLUSTER_VIEW])
    updated = await ann.update(made.name, "spec.lifetime", "spec.worker_groups", "shares", spec=spec, shares=[share])
    assert updated.spec.lifetime.seconds == 60
    assert [group.name for group in updated.spec.worker_groups] == ["new"]
    assert list(updated.shares) == [share]
    await fails(StaleEtag, ann.update(made.name, "spec.tags", etag=made.etag))
    for paths in ([], ["spec.alias"], ["status"]):
        assert await wrong_fields(ann.update(made.name, *paths)) == {"update_mask"}


async def test_an_alias_may_name_its_owner(ann: User, bob: User) -> None:
    made = await ann.create(alias="lab")
    assert (await ann.get("clusters/~ann:lab")).name == made.name
    await fails(ClusterNotFound, bob.get("clusters/~ann:lab"))


async def test_nothing_is_shared_with_its_owner(ann: User) -> None:
    made = await ann.create()
    shares = [cluster_pb2.Share(member="users/ann", rights=[right_pb2.RIGHT_CLUSTER_VIEW])]
    assert await wrong_fields(ann.update(made.name, "shares", shares=shares)) == {"cluster.shares"}
    assert not (await ann.get(made.name)).shares


# StopCluster, BatchStopClusters, DeleteCluster


async def test_a_stopped_cluster_stays_readable_and_nothing_else(ann: User) -> None:
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    assert (await ann.stop(made.name)).spec.stop
    ended = await ann.until(made.name, "STOPPED")
    assert ended.status.reason == cluster_pb2.END_REASON_USER
    assert ended.end_time.seconds
    assert (await ann.stop(made.name)).status.phase == cluster_pb2.PHASE_STOPPED
    for call in (
        ann.scale(made.name, 1),
        ann.adapt(made.name, AdaptRange()),
        ann.update(made.name, "spec.tags", spec=cluster_pb2.ClusterSpec(tags={"a": "b"})),
        ann.call("ConnectCluster", pb.ConnectClusterRequest(name=made.name)),
    ):
        await fails(ClusterEnded, call)


async def test_an_ended_cluster_can_be_deleted(ann: User) -> None:
    made = await ann.create()
    await fails(ClusterNotEnded, ann.delete(made.name))
    await ann.stop(made.name)
    await ann.until(made.name, "STOPPED")
    await ann.delete(made.name)
    await fails(ClusterNotFound, ann.get(made.name))


async def test_many_are_stopped_by_name_or_by_a_filter(ann: User, bob: User) -> None:
    mine = [(await ann.create(tags={"n": str(n % 2)})).name for n in range(4)]
    theirs = (await bob.create()).name
    answer = await ann.call("BatchStopClusters", pb.BatchStopClustersRequest(names=[mine[0], theirs]))
    assert list(answer.stopped) == [mine[0]]
    [failure] = answer.failures
    assert (failure.name, failure.reason) == (theirs, error_reason_pb2.ERROR_REASON_CLUSTER_NOT_FOUND)
    wanted = pb.ClusterFilter(tags={"n": "1"})
    answer = await ann.call("BatchStopClusters", pb.BatchStopClustersRequest(filter=wanted))
    assert set(answer.stopped) == {mine[1], mine[3]}
    assert not (await ann.get(mine[2])).spec.stop
    assert not (await bob.get(theirs)).spec.stop
    assert await wrong_fields(ann.call("BatchStopClusters", pb.BatchStopClustersRequest())) == {"names"}


# ConnectCluster, ReadLogs


async def test_a_client_gets_a_certificate_and_once_it_runs_an_address(ann: User) -> None:
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    answer = await ann.call("ConnectCluster", pb.ConnectClusterRequest(name=made.name))
    assert answer.server_name.startswith(made.name.removeprefix("clusters/") + ".")
    assert answer.direct_address.startswith("tls://")
    assert "BEGIN CERTIFICATE" in answer.ca_pem
    assert "BEGIN CERTIFICATE" in answer.certificate_pem
    assert "PRIVATE KEY" in answer.private_key_pem
    assert answer.expire_time.seconds


async def test_logs_are_of_processes_that_there_are(ann: User) -> None:
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    nope = ann.stream("ReadLogs", pb.ReadLogsRequest(name=made.name, process="nope"))
    await fails(WorkerNotFound, nope.read())
    negative = ann.stream("ReadLogs", pb.ReadLogsRequest(name=made.name, tail_lines=-1))
    assert await wrong_fields(negative.read()) == {"tail_lines"}
    async for piece in ann.stream("ReadLogs", pb.ReadLogsRequest(name=made.name, process="scheduler")):
        assert piece.process == "scheduler"
        assert piece.resume_token
