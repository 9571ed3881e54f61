"""A record in another user's hands: every method of the services, for everybody that a cluster knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from tests.controller.api.people import ACCESS, caller, expected, outcome, people, shared_cluster
from tests.controller.errors_of import fails
from tests.controller.running import Replica

from headrace.access import may
from headrace.errors import ClusterNotEnded, ClusterNotFound, HeadraceError, PermissionDenied
from headrace.v1 import cluster_pb2, options_service_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.enums import Right
from headrace_chassis.identity.rights import right_of

# A request of each method about a cluster, and the error that a caller with the right gets from a later check, if any.
CALLS: Mapping[str, tuple[Callable[[str], Any], type[HeadraceError] | None]] = {
    "GetCluster": (lambda name: pb.GetClusterRequest(name=name), None),
    "ConnectCluster": (lambda name: pb.ConnectClusterRequest(name=name), None),
    "ListWorkers": (lambda name: pb.ListWorkersRequest(parent=name), None),
    "ListClusterEvents": (lambda name: pb.ListClusterEventsRequest(parent=name), None),
    "ScaleCluster": (lambda name: pb.ScaleClusterRequest(name=name), None),
    "AdaptCluster": (lambda name: pb.AdaptClusterRequest(name=name), None),
    "UpdateCluster": (
        lambda name: pb.UpdateClusterRequest(
            cluster=cluster_pb2.Cluster(name=name), update_mask=FieldMask(paths=["spec.tags"])
        ),
        None,
    ),
    "DeleteCluster": (lambda name: pb.DeleteClusterRequest(name=name), ClusterNotEnded),
    "StopCluster": (lambda name: pb.StopClusterRequest(name=name), None),
    "ReadLogs": (lambda name: pb.ReadLogsRequest(name=name), None),
}
# Methods that are about what is the caller's own, with the right on a cluster that they check of each, if any.
OWN = {"CreateCluster", "ListClusters", "BatchStopClusters", "WatchClusters"}


async def read_all(stream: Any) -> None:
    async for _ in stream:
        pass


def test_every_method_is_in_the_tables() -> None:
    methods = {method.name for method in pb.DESCRIPTOR.services_by_name["ClusterService"].methods}
    assert methods == CALLS.keys() | OWN
    assert all(method.name for method in options_service_pb2.DESCRIPTOR.services_by_name["OptionsService"].methods)


@pytest.mark.parametrize("method", CALLS)
async def test_each_method_for_everybody(controller: Replica, method: str) -> None:
    users = await people(controller)
    request_of, passes = CALLS[method]
    right = right_of(f"/headrace.v1.ClusterService/{method}")
    assert right is not None
    for name, user in users.items():
        request = request_of(await shared_cluster(users["ann"]))
        call = read_all(user.stream(method, request)) if method == "ReadLogs" else user.call(method, request)
        await outcome(call, expected(name, right, passes))


async def test_watching_one_is_for_those_who_may_view_it(controller: Replica) -> None:
    users = await people(controller)
    made = await shared_cluster(users["ann"])
    for name, user in users.items():
        stream = user.stream("WatchClusters", pb.WatchClustersRequest(name=made))
        await outcome(stream.read(), expected(name, Right.CLUSTER_VIEW, None))
        stream.cancel()


async def test_a_batch_stops_for_those_who_may_stop(controller: Replica) -> None:
    users = await people(controller)
    for name, user in users.items():
        made = await shared_cluster(users["ann"])
        answer = await user.call("BatchStopClusters", pb.BatchStopClustersRequest(names=[made]))
        assert bool(answer.stopped) is may(caller(name), Right.CLUSTER_STOP, ACCESS)
        assert bool(answer.failures) is not bool(answer.stopped)


@pytest.mark.parametrize("method", ["ListClusters", "WatchClusters", "BatchStopClusters"])
async def test_somebody_elses_clusters_are_for_admins(controller: Replica, method: str) -> None:
    users = await people(controller)
    await shared_cluster(users["ann"])
    wanted = pb.ClusterFilter(owner="users/ann")
    for name in ("ann", "bob", "vera", "root"):
        user, error = users[name], None if name in {"ann", "root"} else PermissionDenied
        if method == "WatchClusters":
            stream = user.stream(method, pb.WatchClustersRequest(filter=wanted))
            await outcome(stream.read(), error)
            stream.cancel()
        elif method == "ListClusters":
            await outcome(user.call(method, pb.ListClustersRequest(filter=wanted)), error)
        else:
            await outcome(user.call(method, pb.BatchStopClustersRequest(filter=wanted)), error)


async def test_what_is_about_no_cluster_is_for_every_user(controller: Replica) -> None:
    for user in (await people(controller)).values():
        await user.create()
        await user.ask_options("ListProfiles", options_service_pb2.ListProfilesRequest())
        await user.ask_options("ListOptions", options_service_pb2.ListOptionsRequest())


async def test_an_alias_is_its_owners(controller: Replica) -> None:
    users = await people(controller)
    await users["ann"].create(alias="lab")
    await fails(ClusterNotFound, users["bob"].get("clusters/~lab"))
    await fails(ClusterNotFound, users["root"].get("clusters/~lab"))
