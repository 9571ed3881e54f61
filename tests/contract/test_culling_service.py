"""KeepCluster: how long, by whom, and what is refused."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from tests.controller.errors_of import fails, wrong_fields
from tests.controller.user import User

from headrace.errors import ClusterEnded, ClusterNotFound, KeepRefused
from headrace.v1 import culling_service_pb2 as pb


def keep(name: str, seconds: int) -> pb.KeepClusterRequest:
    return pb.KeepClusterRequest(name=name, duration=Duration(seconds=seconds))


async def test_a_cluster_is_kept_and_never_for_less_than_before(ann: User) -> None:
    made = await ann.create(alias="lab")
    kept = await ann.ask_culling("KeepCluster", keep(made.name, 3600))
    assert kept.spec.keep_until_time.seconds >= made.create_time.seconds + 3599
    again = await ann.ask_culling("KeepCluster", keep("clusters/~lab", 60))
    assert again.spec.keep_until_time == kept.spec.keep_until_time


async def test_more_than_the_policy_allows_is_refused_with_what_it_allows(ann: User) -> None:
    made = await ann.create()
    error = await fails(KeepRefused, ann.ask_culling("KeepCluster", keep(made.name, 86_401)))
    assert error.details == {"seconds": "86400"}
    assert await wrong_fields(ann.ask_culling("KeepCluster", keep(made.name, 0))) == {"duration"}
    assert not (await ann.get(made.name)).spec.HasField("keep_until_time")


async def test_only_a_living_cluster_that_one_may_see_is_kept(ann: User, bob: User) -> None:
    made = await ann.create()
    await fails(ClusterNotFound, bob.ask_culling("KeepCluster", keep(made.name, 60)))
    await ann.stop(made.name)
    await fails(ClusterEnded, ann.ask_culling("KeepCluster", keep(made.name, 60)))
