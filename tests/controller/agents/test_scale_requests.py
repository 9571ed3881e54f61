"""What adaptive scaling asks for: a target within the range, and as much of it as limits allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.controller.agents.conftest import CLOCK, Replica
from tests.controller.builders import new_cluster
from tests.controller.conftest import Recorder

from headrace.errors import ClusterNotFound
from headrace.v1.enums import EventType
from headrace_controller.admission import Admission
from headrace_controller.agents.scale_requests import ScaleRequests, with_target
from headrace_controller.model import AdaptRange, Cluster, Demand, Group, Severity
from headrace_controller.policy.file import PolicyFile
from headrace_controller.profiles import build_profiles

ADAPTIVE = Group(size=2, adapt=AdaptRange(minimum=1, maximum=50))
FIXED = Group(name="fixed", size=1)


@pytest.fixture
def requests(replica: Replica) -> ScaleRequests:
    return ScaleRequests(replica.store, replica.mirror, replica.admission, replica.events)


@pytest.fixture
async def cluster(replica: Replica, record: Recorder) -> Cluster:
    made = await record(new_cluster(groups=(ADAPTIVE, FIXED)), demand=Demand(clusters=1, workers=3, cores_milli=3000))
    await replica.mirror.fresh()
    return made


def desired(replica: Replica, cluster: Cluster, group: Group = ADAPTIVE) -> int:
    return replica.record(cluster.id).desired(group)


async def limited(replica: Replica, cluster: Cluster) -> list[str]:
    return [e.message for e in await replica.store.events.list(cluster.id) if e.type is EventType.SCALING_LIMITED]


async def test_a_request_becomes_a_target_and_not_a_size(
    replica: Replica, cluster: Cluster, requests: ScaleRequests
) -> None:
    await requests.apply(cluster, "default", 4)
    stored = await replica.store.reads.get(cluster.id)
    assert stored.targets == {"default": 4}
    assert (stored.spec, stored.generation) == (cluster.spec, cluster.generation)
    assert desired(replica, cluster) == 4


@pytest.mark.parametrize(("asked", "target"), [(0, 1), (-5, 1), (3, 3)])
async def test_a_request_is_clamped_to_the_range(
    replica: Replica, cluster: Cluster, requests: ScaleRequests, asked: int, target: int
) -> None:
    await requests.apply(cluster, "default", asked)
    assert desired(replica, cluster) == target


@pytest.mark.parametrize("group", ["fixed", "unknown", ""])
async def test_groups_that_are_not_adaptive_are_ignored(
    replica: Replica, cluster: Cluster, requests: ScaleRequests, group: str
) -> None:
    await requests.apply(cluster, group, 4)
    assert (await replica.store.reads.get(cluster.id)).revision == cluster.revision


async def test_a_group_that_stops_being_adaptive_meanwhile_is_ignored(
    replica: Replica, cluster: Cluster, requests: ScaleRequests
) -> None:
    fixed = replace(ADAPTIVE, adapt=None)
    changed = await replica.store.records.change(
        cluster, lambda c: replace(c, spec=replace(c.spec, groups=(fixed, FIXED))), demand=lambda _: Demand(), limits={}
    )
    replica.mirror.apply(changed)
    await requests.apply(cluster, "default", 4)
    assert (await replica.store.reads.get(cluster.id)).targets == {}
    assert with_target(changed, "gone", 4) is changed


async def test_a_limit_allows_a_part_and_is_recorded_once(
    replica: Replica, cluster: Cluster, requests: ScaleRequests
) -> None:
    for _ in range(3):
        await requests.apply(replica.record(cluster.id), "default", 10)
        assert desired(replica, cluster) == 5  # and one of the other group: 6 cores
    [message] = await limited(replica, cluster)
    assert message.startswith(
        "Adaptive scaling asked for 10 workers in group 'default' and got 5: users/ann may have 6 "
    )
    await requests.apply(replica.record(cluster.id), "default", 2)
    assert desired(replica, cluster) == 2
    await requests.apply(replica.record(cluster.id), "default", 10)
    assert len(await limited(replica, cluster)) == 2  # it binds again
    event = (await replica.store.events.list(cluster.id))[-1]
    assert (event.severity, event.time) == (Severity.WARNING, CLOCK)


async def test_a_request_that_is_already_over_the_limit_changes_nothing(
    replica: Replica, record: Recorder, requests: ScaleRequests
) -> None:
    await record(new_cluster(), demand=Demand(clusters=1, cores_milli=3000))
    made = await record(new_cluster(groups=(ADAPTIVE,)), demand=Demand(clusters=1, workers=2, cores_milli=2000))
    await replica.mirror.fresh()
    limits = replica.admission.limits(made)
    changed = await replica.store.records.change(
        made, lambda c: with_target(c, "default", 3), demand=replica.admission.demand, limits=limits
    )
    replica.mirror.apply(changed)
    await requests.apply(changed, "default", 40)
    assert desired(replica, made) == 3
    assert len(await limited(replica, made)) == 1


async def test_an_absurd_request_gets_what_the_limit_allows(
    replica: Replica, record: Recorder, requests: ScaleRequests
) -> None:
    group = Group(adapt=AdaptRange(minimum=0))
    made = await record(new_cluster(groups=(group,)), demand=Demand(clusters=1))
    await replica.mirror.fresh()
    await requests.apply(made, "default", 2**31 - 1)
    assert desired(replica, made, group) == 6


async def test_an_ending_cluster_is_not_scaled(replica: Replica, cluster: Cluster, requests: ScaleRequests) -> None:
    stop: Callable[[Cluster], Cluster] = lambda c: replace(c, spec=replace(c.spec, stop=True))  # noqa: E731
    changed = await replica.store.records.change(cluster, stop, demand=lambda _: Demand(), limits={})
    await requests.apply(changed, "default", 4)
    assert (await replica.store.reads.get(cluster.id)).targets == {}


async def test_a_cluster_that_is_gone_is_an_error(requests: ScaleRequests) -> None:
    with pytest.raises(ClusterNotFound):
        await requests.apply(new_cluster(groups=(ADAPTIVE,)), "default", 4)


async def test_a_lowered_limit_takes_nothing_away_and_says_once_that_there_is_no_more(
    replica: Replica, record: Recorder
) -> None:
    policy = PolicyFile()
    admission = Admission(policy, build_profiles(policy, {"only": ()}))
    requests = ScaleRequests(replica.store, replica.mirror, admission, replica.events)
    made = await record(new_cluster(groups=(ADAPTIVE,), profile="default"), demand=Demand(clusters=1, workers=2))
    await replica.mirror.fresh()
    await requests.apply(made, "default", 8)
    admission.follow(PolicyFile.model_validate({"limits": {"user": {"workers": 5}}}))
    for _ in range(3):
        await requests.apply(replica.record(made.id), "default", 9)
        assert desired(replica, made) == 8
    [message] = await limited(replica, made)
    assert "asked for 9 workers in group 'default' and got 8: users/ann may have 5 workers, has 8" in message
    await requests.apply(replica.record(made.id), "default", 7)  # less is possible, also above the limit
    assert desired(replica, made) == 7


@pytest.mark.parametrize(
    ("limits", "most"),
    [({}, 1000), ({"user": {"workers": None}, "cluster": {"workers": None}}, 100_000)],
    ids=["defaults", "limits taken away"],
)
async def test_a_range_without_a_maximum_is_never_without_a_bound(
    replica: Replica, record: Recorder, limits: dict[str, object], most: int
) -> None:
    policy = PolicyFile.model_validate({"limits": limits})
    admission = Admission(policy, build_profiles(policy, {"only": ()}))
    requests = ScaleRequests(replica.store, replica.mirror, admission, replica.events)
    group = Group(adapt=AdaptRange(minimum=0))
    made = await record(new_cluster(groups=(group,), profile="default"), demand=Demand(clusters=1))
    await replica.mirror.fresh()
    await requests.apply(made, "default", 10**9)
    assert desired(replica, made, group) == most
