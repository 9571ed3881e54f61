"""CullingService: who may keep and cull, what is listed, and a lifetime of the policy that is warned of and reached."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from tests.controller.api.people import PEOPLE, caller, expected, outcome, people, shared_cluster
from tests.controller.errors_of import fails, wrong_fields
from tests.controller.replaced import replace_file
from tests.controller.running import Replica, Site
from tests.controller.user import User

from headrace.errors import KeepRefused, PermissionDenied
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as clusters_pb
from headrace.v1 import culling_service_pb2 as pb
from headrace.v1.enums import Right


def keep(name: str, hours: float) -> pb.KeepClusterRequest:
    duration = Duration()
    duration.FromTimedelta(timedelta(hours=hours))
    return pb.KeepClusterRequest(name=name, duration=duration)


@pytest.mark.parametrize(
    ("method", "right"), [("KeepCluster", Right.CLUSTER_SCALE), ("CullCluster", Right.CLUSTER_STOP)]
)
async def test_each_method_for_everybody(controller: Replica, method: str, right: Right) -> None:
    users = await people(controller)
    for name in PEOPLE:
        made = await shared_cluster(users["ann"])
        request = keep(made, 1) if method == "KeepCluster" else pb.CullClusterRequest(name=made)
        await outcome(users[name].ask_culling(method, request), expected(name, right, None))


async def test_a_cluster_is_kept_as_long_as_the_policy_allows(controller: Replica, ann: User) -> None:
    made = await ann.create(lifetime=Duration(seconds=60))
    kept = await ann.ask_culling("KeepCluster", keep(made.name, 2))
    assert kept.spec.keep_until_time.seconds - made.create_time.seconds in range(7199, 7230)
    assert kept.spec.lifetime.seconds in range(7199, 7230)
    error = await fails(KeepRefused, ann.ask_culling("KeepCluster", keep(made.name, 25)))
    assert error.details["seconds"] == "86400"
    assert await wrong_fields(ann.ask_culling("KeepCluster", keep(made.name, 0))) == {"duration"}
    assert (await ann.get(made.name)).spec.keep_until_time == kept.spec.keep_until_time
    events = await ann.call("ListClusterEvents", clusters_pb.ListClusterEventsRequest(parent=made.name))
    assert "ann keeps the cluster for 2 h." in [event.message for event in events.cluster_events]


async def test_a_lifetime_of_the_policy_is_listed_warned_of_and_reached(site: Site, directory: Path) -> None:
    file = directory / "policy.yaml"
    file.write_text("culling: {idle: null, lifetime: 1 h}")
    controller = await site.replica(policy_file=file)
    ann, root = await controller.user("ann"), await controller.user("root", *caller("root").roles)
    made = await ann.create()
    everybody = pb.ListCullingRequest(filter=clusters_pb.ClusterFilter(owner="users/-"))
    [culling] = (await root.ask_culling("ListCulling", everybody)).cullings
    assert (culling.cluster, culling.owner, culling.rule) == (made.name, "users/ann", "lifetime")
    assert culling.act_time.seconds - made.create_time.seconds in {3600, 3601}
    assert not culling.warned
    await fails(PermissionDenied, ann.ask_culling("ListCulling", everybody))

    replace_file(file, "culling: {idle: null, lifetime: 3 s}")
    ended = await ann.until(made.name, "STOPPED")
    assert ended.status.reason == cluster_pb2.END_REASON_LIFETIME
    assert ended.status.message == (
        "The cluster was stopped because its lifetime is limited to 3 s. Create a new one to continue."
    )
    events = await ann.call("ListClusterEvents", clusters_pb.ListClusterEventsRequest(parent=made.name))
    kinds = [event.type for event in events.cluster_events]
    warned = kinds.index(cluster_pb2.EVENT_TYPE_CULLING_WARNED)
    assert warned < kinds.index(cluster_pb2.EVENT_TYPE_STOPPING)
    assert (await root.ask_culling("ListCulling", everybody)).cullings == []
