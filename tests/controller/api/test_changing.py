"""Scale, adapt, update, stop, delete."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from tests.conftest import Eventually
from tests.controller.errors_of import fails, wrong_fields
from tests.controller.running import Site
from tests.controller.user import User

from headrace.errors import (
    ClusterEnded,
    ClusterNotEnded,
    ClusterNotFound,
    GroupNotFound,
    InternalError,
    PermissionDenied,
    QuotaExceeded,
    StaleEtag,
)
from headrace.v1 import cluster_pb2, error_reason_pb2
from headrace.v1 import cluster_service_pb2 as pb

AdaptRange = cluster_pb2.AdaptRange
Group = cluster_pb2.WorkerGroup


async def test_scaling_ends_adaptive_scaling_and_adapting_stays_within_its_range(ann: User) -> None:
    made = await ann.create()
    bounds = AdaptRange(minimum=2, maximum=5)
    adapted = await ann.adapt(made.name, bounds)
    assert (adapted.status.worker_groups[0].desired, adapted.spec.worker_groups[0].adapt) == (2, bounds)
    ended = await ann.adapt(made.name, None)
    assert not ended.spec.worker_groups[0].HasField("adapt")
    assert (ended.spec.worker_groups[0].size, ended.status.worker_groups[0].desired) == (2, 2)
    await ann.adapt(made.name, bounds)
    scaled = await ann.scale(made.name, 1)
    assert (scaled.spec.worker_groups[0].size, scaled.spec.worker_groups[0].HasField("adapt")) == (1, False)
    assert scaled.status.worker_groups[0].desired == 1


async def test_without_a_maximum_none_is_made_up(ann: User) -> None:
    made = await ann.create()
    adapted = await ann.adapt(made.name, AdaptRange(minimum=1))
    assert not adapted.spec.worker_groups[0].adapt.HasField("maximum")
    events = await ann.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=made.name))
    [event] = [event for event in events.cluster_events if event.type == cluster_pb2.EVENT_TYPE_ADAPT_REQUESTED]
    assert event.message == "ann requested adaptive scaling of group 'default': 1 to no fixed maximum."


async def test_bad_numbers_are_refused_and_change_nothing(ann: User) -> None:
    made = await ann.create()
    assert await wrong_fields(ann.scale(made.name, -1)) == {"size"}
    wrong = ann.adapt(made.name, AdaptRange(minimum=-1, maximum=-2))
    assert await wrong_fields(wrong) == {"adapt.minimum", "adapt.maximum"}
    assert (await ann.get(made.name)).generation == 1


LIMITED_TO_TWO: list[dict[str, object]] = [
    {"cluster": {"workers": 2}},
    {"user": {"workers": 2}},
    {"user": {"cores": 3.9}},
    {"deployment": {"memory_bytes": "6 GiB"}},
]


@pytest.mark.parametrize("limits", LIMITED_TO_TWO)
async def test_more_workers_than_a_limit_allows_become_those_that_it_allows(
    site: Site, limits: dict[str, object]
) -> None:
    nothing = {"cores": 0, "memory_bytes": 0}
    replica = await site.replica(limits=limits, worker={"cores": 1.5, "memory_bytes": "3 GiB"}, scheduler=nothing)
    carl = await replica.user("carl")
    made = await carl.create()
    for size in (3, 1001, 10**9):
        assert (await carl.scale(made.name, size)).spec.worker_groups[0].size == 2
    for asked, gets in (((0, 100), (0, 2)), ((3, 4), (2, 2))):
        adapted = await carl.adapt(made.name, AdaptRange(minimum=asked[0], maximum=asked[1]))
        adapt = adapted.spec.worker_groups[0].adapt
        assert (adapt.minimum, adapt.maximum) == gets
    events = await carl.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=made.name))
    messages = [event.message for event in events.cluster_events]
    assert any("carl requested 3 workers in group 'default', and gets 2: " in message for message in messages)
    (ranged,) = [message for message in messages if "0 to 100 workers, and gets 0 to 2 workers: " in message]
    subject = next(iter(limits))
    assert ranged.endswith(" may have at most 2 workers of this size.")
    assert subject in ranged  # "clusters/c...", "users/carl" or "deployment"


async def test_other_clusters_take_from_what_a_limit_allows(site: Site) -> None:
    replica = await site.replica(limits={"user": {"workers": 5}})
    carl = await replica.user("carl")
    first, second = await carl.create(), await carl.create()
    await carl.scale(first.name, 4)
    assert (await carl.scale(second.name, 3)).spec.worker_groups[0].size == 1
    adapted = await carl.adapt(second.name, AdaptRange(minimum=3, maximum=9))
    assert (adapted.spec.worker_groups[0].adapt.minimum, adapted.spec.worker_groups[0].adapt.maximum) == (1, 5)
    assert (await carl.scale(second.name, 0)).spec.worker_groups[0].size == 0


async def test_more_than_a_limit_allows_is_refused_where_the_setting_says_so(site: Site) -> None:
    replica = await site.replica(limits={"cluster": {"workers": 2}, "on_scale": "reject"})
    carl = await replica.user("carl")
    made = await carl.create()
    for call in (
        carl.scale(made.name, 3),
        carl.scale(made.name, 10**9),
        carl.adapt(made.name, AdaptRange(minimum=0, maximum=3)),
        carl.adapt(made.name, AdaptRange(minimum=3, maximum=4)),
    ):
        error = await fails(QuotaExceeded, call)
        assert error.details["what"] == "workers"
    assert (await carl.get(made.name)).generation == 1


async def test_an_unknown_group_names_those_there_are(ann: User) -> None:
    made = await ann.create()
    error = await fails(GroupNotFound, ann.scale(made.name, 1, group="gpu"))
    assert "'default'" in error.message


async def test_a_stale_etag_is_refused_and_only_clients_make_one_stale(ann: User) -> None:
    made = await ann.create()
    scaled = await ann.scale(made.name, 1)
    await fails(StaleEtag, ann.scale(made.name, 2, etag=made.etag))
    running = await ann.until(made.name, "RUNNING", running=1)
    assert running.etag == scaled.etag
    assert int(running.resource_version) > int(scaled.resource_version)
    await ann.scale(made.name, 2, etag=scaled.etag)
    await fails(StaleEtag, ann.update(made.name, "spec.tags", etag=scaled.etag))


async def test_what_changes_nothing_makes_no_new_version(ann: User) -> None:
    made = await ann.create(tags={"a": "b"})
    for again in (
        await ann.scale(made.name, 0),
        await ann.update(made.name, "spec.tags", spec=cluster_pb2.ClusterSpec(tags={"a": "b"})),
    ):
        assert (again.generation, again.etag) == (1, made.etag)


# UpdateCluster


async def test_tags_lifetime_and_shares_are_replaced(ann: User, bob: User) -> None:
    made = await ann.create(tags={"team": "a"})
    await fails(ClusterNotFound, bob.get(made.name))
    share = cluster_pb2.Share(member="users/bob", rights=["RIGHT_CLUSTER_STOP"])  # pyright: ignore[reportArgumentType]
    spec = cluster_pb2.ClusterSpec(tags={"team": "b"}, lifetime=Duration(seconds=3600))
    updated = await ann.update(made.name, "spec.tags", "spec.lifetime", "shares", spec=spec, shares=[share])
    assert (dict(updated.spec.tags), updated.spec.lifetime.seconds) == ({"team": "b"}, 3600)
    assert list(updated.shares) == [share]
    assert updated.generation == made.generation + 1
    assert (await bob.get(made.name)).name == made.name
    back = await ann.update(made.name, "spec.lifetime", "shares")
    assert not back.spec.HasField("lifetime")
    assert dict(back.spec.tags) == {"team": "b"}
    await fails(ClusterNotFound, bob.get(made.name))


async def test_groups_come_and_go(ann: User, site: Site, eventually: Eventually) -> None:
    made = await ann.create(worker_groups=[Group(name="a", size=1), Group(name="b", size=1)])
    await ann.until(made.name, "RUNNING", running=2)
    groups = [Group(name="a", size=1), Group(name="c", size=2)]
    updated = await ann.update(made.name, "spec.worker_groups", spec=cluster_pb2.ClusterSpec(worker_groups=groups))
    assert [group.name for group in updated.spec.worker_groups] == ["a", "c"]
    await ann.until(made.name, "RUNNING", running=3)
    cluster = made.name.removeprefix("clusters/")
    await eventually(lambda: sorted(name[0] for name in site.machine.running(cluster)) == ["a", "c", "c", "s"])


async def test_updates_are_checked_and_counted(ann: User) -> None:
    made = await ann.create()
    assert await wrong_fields(ann.update(made.name)) == {"update_mask"}
    assert await wrong_fields(ann.update(made.name, "spec.alias")) == {"update_mask"}
    groups = cluster_pb2.ClusterSpec(worker_groups=[Group(name="default", size=1001)])
    await fails(QuotaExceeded, ann.update(made.name, "spec.worker_groups", spec=groups))
    assert (await ann.get(made.name)).generation == 1
    await ann.stop(made.name)
    await fails(ClusterEnded, ann.update(made.name, "spec.tags", spec=cluster_pb2.ClusterSpec(tags={"a": "b"})))


# StopCluster, BatchStopClusters, DeleteCluster


async def test_stopping_again_returns_it_and_everything_else_is_refused(ann: User) -> None:
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    assert (await ann.stop(made.name)).spec.stop
    await ann.until(made.name, "STOPPED")
    assert (await ann.stop(made.name)).status.phase == cluster_pb2.PHASE_STOPPED
    await fails(ClusterEnded, ann.scale(made.name, 1))
    await fails(ClusterEnded, ann.call("ConnectCluster", pb.ConnectClusterRequest(name=made.name)))


async def batch_stop(user: User, *names: str, **filter_: object) -> pb.BatchStopClustersResponse:
    if names:
        return await user.call("BatchStopClusters", pb.BatchStopClustersRequest(names=names))
    wanted = pb.ClusterFilter(**filter_)  # pyright: ignore[reportArgumentType]
    return await user.call("BatchStopClusters", pb.BatchStopClustersRequest(filter=wanted))


async def test_a_batch_stops_what_matches(ann: User, bob: User, admin: User, site: Site) -> None:
    mine = {(await ann.create(tags={"team": "a"})).name for _ in range(3)}
    other = await ann.create()
    theirs = await bob.create()
    await fails(PermissionDenied, batch_stop(bob, owner="users/ann"))
    answer = await batch_stop(ann, tags={"team": "a"})
    assert (set(answer.stopped), list(answer.failures)) == (mine, [])
    for name in mine:
        await ann.until(name, "STOPPED")
    assert (await bob.get(theirs.name)).status.phase < cluster_pb2.PHASE_STOPPING
    answer = await batch_stop(admin, owner="users/-")
    assert set(answer.stopped) == {other.name, theirs.name}
    await bob.until(theirs.name, "STOPPED")
    await ann.until(other.name, "STOPPED")
    assert site.machine.running() == []


async def test_a_batch_names_what_could_not_be_stopped_and_stops_the_rest(ann: User, bob: User) -> None:
    mine, theirs = await ann.create(), await bob.create()
    share = cluster_pb2.Share(member="users/ann", rights=["RIGHT_CLUSTER_VIEW"])  # pyright: ignore[reportArgumentType]
    shown = await bob.create(request={"shares": [share]})
    answer = await batch_stop(ann, theirs.name, "clusters/nope", "rubbish", shown.name, mine.name, mine.name)
    assert list(answer.stopped) == [mine.name]
    assert {failure.name: failure.reason for failure in answer.failures} == {
        theirs.name: error_reason_pb2.ERROR_REASON_CLUSTER_NOT_FOUND,
        "clusters/nope": error_reason_pb2.ERROR_REASON_CLUSTER_NOT_FOUND,
        "rubbish": error_reason_pb2.ERROR_REASON_INVALID_FIELD,
        shown.name: error_reason_pb2.ERROR_REASON_PERMISSION_DENIED,
    }
    assert all(failure.message for failure in answer.failures)


async def test_a_batch_has_names_or_a_filter(ann: User) -> None:
    both = pb.BatchStopClustersRequest(names=["clusters/c1"], filter=pb.ClusterFilter())
    many = pb.BatchStopClustersRequest(names=[f"clusters/c{n}" for n in range(1001)])
    for request in (pb.BatchStopClustersRequest(), both, many):
        assert await wrong_fields(ann.call("BatchStopClusters", request)) == {"names"}
    assert await wrong_fields(batch_stop(ann, owner="x/y")) == {"filter.owner"}


async def test_an_ended_cluster_is_deleted_with_its_events_and_logs(ann: User, site: Site) -> None:
    made = await ann.create(alias="lab")
    await ann.until(made.name, "RUNNING")
    await fails(ClusterNotEnded, ann.delete(made.name))
    await ann.stop(made.name)
    await ann.until(made.name, "STOPPED")
    cluster = made.name.removeprefix("clusters/")
    assert any(key[0] == cluster for key in site.machine.statuses)
    await ann.delete(made.name)
    await fails(ClusterNotFound, ann.get(made.name))
    for name, advice in [
        ("lab", "`headrace clusters list --all`"),
        ("eve/lab", "`headrace clusters list --all --shared`"),
    ]:
        error = str(await fails(ClusterNotFound, ann.get(f"clusters/~{name.replace('/', ':')}")))
        assert error.startswith(f"there is no living cluster named {name!r}")
        assert advice in error
    await fails(ClusterNotFound, ann.delete(made.name))
    await fails(ClusterNotFound, ann.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=made.name)))
    assert not any(key[0] == cluster for key in site.machine.statuses)


async def test_a_cluster_whose_logs_cannot_be_deleted_stays_until_they_can(ann: User, site: Site) -> None:
    made = await ann.create()
    await ann.stop(made.name)
    await ann.until(made.name, "STOPPED")
    cluster = made.name.removeprefix("clusters/")
    site.machine.unforgettable.add(cluster)
    error = await fails(InternalError, ann.delete(made.name))
    assert "Try again" in error.message
    assert (await ann.get(made.name)).name == made.name
    site.machine.unforgettable.clear()
    await ann.delete(made.name)
    await fails(ClusterNotFound, ann.get(made.name))


@pytest.mark.parametrize("limit", [{"workers": 4}, {"cores": 9}, {"memory_bytes": "18 GiB"}, {"gpus": 4}])
async def test_limits_of_a_user_count_over_all_clusters(site: Site, limit: dict[str, object]) -> None:
    worker, scheduler = {"cores": 2, "memory_bytes": "4 GiB"}, {"cores": 0.5, "memory_bytes": "1 GiB"}
    replica = await site.replica(limits={"user": limit, "on_scale": "reject"}, worker=worker, scheduler=scheduler)
    carl = await replica.user("carl")
    first, second = await carl.create({"worker_gpus": 1}), await carl.create({"worker_gpus": 1})
    await carl.scale(first.name, 3)
    error = await fails(QuotaExceeded, carl.scale(second.name, 2))
    assert error.details["subject"] == "users/carl"
    await carl.scale(second.name, 1)
    await carl.scale(first.name, 0)
    await carl.scale(second.name, 4)


async def test_workers_that_limits_cannot_count_are_refused_in_new_and_in_old_clusters(site: Site) -> None:
    unlimited = await site.replica()
    carl = await unlimited.user("carl")
    made = await carl.create({"worker_memory": 0, "worker_threads": 8})
    await site.stop(unlimited)
    replica = await site.replica("b", limits={"user": {"memory_bytes": "16 GiB", "cores": 8}})
    carl = await replica.user("carl")
    assert await wrong_fields(carl.create({"worker_memory": 0})) == {"spec.options.worker_memory"}
    both = {"spec.options.worker_memory", "spec.options.worker_threads"}
    assert await wrong_fields(carl.scale(made.name, 1)) == both
    await carl.update(made.name, "spec.tags", spec=cluster_pb2.ClusterSpec(tags={"a": "b"}))
    await carl.stop(made.name)


async def test_limits_of_a_profile_count_over_all_its_clusters(site: Site) -> None:
    profiles = {"small": {}, "large": {"limits": {"workers": 2}}}
    replica = await site.replica(profiles=profiles, limits={"on_scale": "reject"})
    carl, sue = await replica.user("carl"), await replica.user("sue")
    first, second = await carl.create(profile="large"), await sue.create(profile="large")
    await carl.scale(first.name, 1)
    error = await fails(QuotaExceeded, sue.scale(second.name, 2))
    assert error.details["subject"] == "profiles/large"
    await sue.scale((await sue.create()).name, 2)
