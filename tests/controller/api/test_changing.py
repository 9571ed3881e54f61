"""Scale, adapt, stop, stop all."""

from __future__ import annotations

import pytest
from tests.controller.services.errors_of import fails, wrong_fields
from tests.controller.services.running import Site, User

from headrace.errors import ClusterEnded, GroupNotFound, PermissionDenied, QuotaExceeded, StaleEtag
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb


async def test_scaling_ends_adaptive_scaling_and_adapting_keeps_within_bounds(ann: User) -> None:
    made = await ann.create()
    bounds = cluster_pb2.AdaptRange(minimum=2, maximum=5)
    adapted = await ann.call("AdaptCluster", pb.AdaptClusterRequest(name=made.name, adapt=bounds))
    assert (adapted.spec.worker_groups[0].size, adapted.spec.worker_groups[0].adapt) == (2, bounds)
    ended = await ann.call("AdaptCluster", pb.AdaptClusterRequest(name=made.name))
    assert not ended.spec.worker_groups[0].HasField("adapt")
    assert ended.spec.worker_groups[0].size == 2
    await ann.call("AdaptCluster", pb.AdaptClusterRequest(name=made.name, adapt=bounds))
    scaled = await ann.scale(made.name, 1)
    assert (scaled.spec.worker_groups[0].size, scaled.spec.worker_groups[0].HasField("adapt")) == (1, False)


async def test_bad_numbers_are_refused_and_change_nothing(ann: User) -> None:
    made = await ann.create()
    assert await wrong_fields(ann.scale(made.name, -1)) == {"size"}
    bounds = cluster_pb2.AdaptRange(minimum=-1, maximum=-2)
    asked = pb.AdaptClusterRequest(name=made.name, adapt=bounds)
    assert await wrong_fields(ann.call("AdaptCluster", asked)) == {"adapt.minimum", "adapt.maximum"}
    for size in (1001, 10**9):
        error = await fails(QuotaExceeded, ann.scale(made.name, size))
        assert error.details["what"] == "workers"
    assert (await ann.get(made.name)).generation == 1


async def test_an_unknown_group_names_those_there_are(ann: User) -> None:
    made = await ann.create()
    error = await fails(GroupNotFound, ann.scale(made.name, 1, group="gpu"))
    assert "'default'" in error.message


async def test_a_stale_etag_is_refused(ann: User) -> None:
    made = await ann.create()
    scaled = await ann.scale(made.name, 1)
    await fails(StaleEtag, ann.scale(made.name, 2, etag=made.etag))
    await ann.until(made.name, "RUNNING", running=1)
    fresh = await ann.get(made.name)
    assert fresh.etag != scaled.etag
    await ann.scale(made.name, 2, etag=fresh.etag)


async def test_stopping_again_returns_it_and_everything_else_is_refused(ann: User) -> None:
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    assert (await ann.stop(made.name)).spec.stop
    await ann.until(made.name, "STOPPED")
    assert (await ann.stop(made.name)).status.phase == cluster_pb2.PHASE_STOPPED
    await fails(ClusterEnded, ann.scale(made.name, 1))
    await fails(ClusterEnded, ann.call("ConnectCluster", pb.ConnectClusterRequest(name=made.name)))


async def test_stop_all_ends_what_is_mine(ann: User, bob: User, admin: User, site: Site) -> None:
    mine = {(await ann.create()).name for _ in range(3)}
    theirs = await bob.create()
    await fails(PermissionDenied, bob.call("StopAllClusters", pb.StopAllClustersRequest(owner="users/ann")))
    stopped = await ann.call("StopAllClusters", pb.StopAllClustersRequest())
    assert set(stopped.names) == mine
    for name in mine:
        await ann.until(name, "STOPPED")
    assert (await bob.get(theirs.name)).status.phase < cluster_pb2.PHASE_STOPPING
    stopped = await admin.call("StopAllClusters", pb.StopAllClustersRequest(owner="users/bob"))
    assert list(stopped.names) == [theirs.name]
    await bob.until(theirs.name, "STOPPED")
    assert site.machine.running() == []


async def test_stop_all_of_everybody_is_refused(admin: User) -> None:
    assert await wrong_fields(admin.call("StopAllClusters", pb.StopAllClustersRequest(owner="x/y"))) == {"owner"}


@pytest.mark.parametrize("limit", [{"workers": 4}, {"cores": 8}, {"memory_bytes": "16 GiB"}])
async def test_limits_of_a_user_count_over_all_clusters(site: Site, limit: dict[str, object]) -> None:
    replica = await site.replica(limits={"user": limit}, worker={"cores": 2, "memory_bytes": "4 GiB"})
    carl = await replica.user("carl")
    first, second = await carl.create(), await carl.create()
    await carl.scale(first.name, 3)
    error = await fails(QuotaExceeded, carl.scale(second.name, 2))
    assert error.details["subject"] == "users/carl"
    await carl.scale(second.name, 1)
    await carl.scale(first.name, 0)
    await carl.scale(second.name, 4)
