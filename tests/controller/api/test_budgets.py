"""Budgets: people are warned, then nothing grows, then clusters are stopped, as the policy says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from tests.conftest import Eventually
from tests.controller.api.usage_calls import ask
from tests.controller.errors_of import fails
from tests.controller.running import Replica, Site
from tests.controller.user import User

from headrace.errors import PermissionDenied, QuotaExceeded
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.identity.caller import ADMIN

# A core costs 277 a second: whatever a cluster runs costs more than 5 at once.
POLICY = """
currency: EUR
profiles: {default: {prices: {core_hour: 1000000}}}
limits: {on_scale: %s}
budgets:
  user: [{per: month, cost: 5, then: %s, grace: 0}]
  users: {rich: [{per: month, cost: 1000000000, warn_at: 0.000000001, then: stop}], bob: [], eve: []}
  groups: {lab: [{per: day, cost: 5}]}
"""


async def controller(site: Site, directory: Path, then: str, on_scale: str = "reject", name: str = "a") -> Replica:
    file = directory / f"{then}{on_scale}.yaml"
    file.write_text(POLICY % (on_scale, then))
    return await site.replica(name, policy_file=file)


async def events(user: User, name: str) -> list[tuple[str, str]]:
    page = await user.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=name))
    return [
        (cluster_pb2.EventType.Name(event.type).removeprefix("EVENT_TYPE_"), event.message)
        for event in page.cluster_events
    ]


async def count(user: User, name: str, type_: str) -> int:
    return [kind for kind, _ in await events(user, name)].count(type_)


async def is_refused(user: User) -> bool:
    try:
        await user.create()
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return False


async def used_up(replica: Replica, eventually: Eventually, name: str = "ann") -> Any:
    """Wait until a budget of a user is used up; return how it stands."""
    found: list[Any] = []

    async def check() -> bool:
        answer = await ask(replica, name, method="ListBudgets")
        found[:] = [one for one in answer.budgets if one.used >= one.limit]
        return bool(found)

    await eventually(check)
    return found[0]


async def test_a_budget_that_is_used_up_stops_growth_and_nothing_else(
    site: Site, directory: Path, eventually: Eventually
) -> None:
    replica = await controller(site, directory, "stop_growing")
    ann = await replica.user("ann")
    made = await ann.create(worker_groups=[cluster_pb2.WorkerGroup(name="default", size=2)], alias="mine")
    state = await used_up(replica, eventually)
    assert (state.subject, state.period, state.what, state.limit) == ("users/ann", "month", "cost", 5)

    async def refused() -> QuotaExceeded:
        return await fails(QuotaExceeded, ann.scale(made.name, 3))

    error = await refused()
    assert error.details["subject"] == "users/ann"
    assert error.details["what"] == "cost"
    assert error.details["limit"] == "5"
    assert float(error.details["used"]) >= 5
    assert error.details["begins_again"] in error.message
    assert re.match(r"the budget of users/ann of 5 EUR for the month is used up, with [0-9.e+]+ EUR\.", error.message)
    await fails(QuotaExceeded, ann.create())
    await fails(QuotaExceeded, ann.adapt(made.name, cluster_pb2.AdaptRange(minimum=3, maximum=4)))
    # Everything else goes on: the same size, others, less, and the cluster's own name.
    await ann.update(made.name, "spec.tags", spec=cluster_pb2.ClusterSpec(tags={"a": "b"}))
    assert (await (await replica.user("bob")).create()).name
    await ann.scale(made.name, 1)
    found = await ann.call("GetCluster", pb.GetClusterRequest(name="clusters/~mine"))
    assert found.name == made.name
    await eventually(lambda: count(ann, made.name, "BUDGET_USED_UP"))
    assert (await ann.stop(made.name)).spec.stop


async def test_a_call_that_is_repeated_returns_its_cluster_also_when_the_budget_is_used_up_meanwhile(
    site: Site, directory: Path, eventually: Eventually
) -> None:
    replica = await controller(site, directory, "stop_growing")
    ann = await replica.user("ann")
    made = await ann.create(request={"request_id": "once"})
    await used_up(replica, eventually)
    await eventually(lambda: is_refused(ann))
    assert (await ann.create(request={"request_id": "once"})).name == made.name
    await fails(QuotaExceeded, ann.create(request={"request_id": "another"}))


async def test_where_limits_clip_growth_is_clipped(site: Site, directory: Path, eventually: Eventually) -> None:
    replica = await controller(site, directory, "stop_growing", "clip")
    ann = await replica.user("ann")
    made = await ann.create(worker_groups=[cluster_pb2.WorkerGroup(name="default", size=2)])
    await used_up(replica, eventually)
    changed = await ann.scale(made.name, 7)
    assert changed.spec.worker_groups[0].size == 2


async def test_a_budget_that_only_warns_refuses_nothing(site: Site, directory: Path, eventually: Eventually) -> None:
    replica = await controller(site, directory, "warn")
    ann = await replica.user("ann")
    made = await ann.create()
    await used_up(replica, eventually)
    await eventually(lambda: count(ann, made.name, "BUDGET_USED_UP"))
    await ann.scale(made.name, 3)
    await ann.create()


async def test_clusters_are_stopped_where_the_policy_says_so(
    site: Site, directory: Path, eventually: Eventually
) -> None:
    replica = await controller(site, directory, "stop")
    ann = await replica.user("ann")
    made = await ann.create()
    other = await (await replica.user("bob")).create()
    ended = await ann.until(made.name, "STOPPED")
    assert ended.status.reason == cluster_pb2.END_REASON_BUDGET
    assert "budget of users/ann" in ended.status.message
    assert "It begins again on" in ended.status.message
    assert (await (await replica.user("bob")).get(other.name)).status.phase < cluster_pb2.PHASE_STOPPING
    # What is known outlives the cluster, and the replica.

    async def refused_for_what_has_ended() -> bool:
        return not (await ann.call("ListClusters", pb.ListClustersRequest())).clusters and await is_refused(ann)

    await eventually(refused_for_what_has_ended)
    await site.stop(replica)
    again = await (await controller(site, directory, "stop", name="b")).user("ann")
    await fails(QuotaExceeded, again.create())


async def test_a_cluster_that_waits_ends_when_its_budget_is_used_up(site: Site, directory: Path) -> None:
    policy = """
        profiles: {default: {prices: {core_hour: 1000000}}}
        limits: {deployment: {clusters: 1}, on_create: queue}
        budgets: {user: [{per: month, cost: 300}], users: {bob: [], dan: [], carl: [{per: month, cost: 1, then: warn}]}}
    """
    (directory / "policy.yaml").write_text(policy)
    replica = await site.replica(policy_file=directory / "policy.yaml")
    ann, bob, carl, dan = [await replica.user(name) for name in ("ann", "bob", "carl", "dan")]
    before = await dan.create()  # nothing is used of a budget until all of the others are there
    first, waits, next_, last = await ann.create(), await ann.create(), await bob.create(), await carl.create()
    await dan.stop(before.name)
    ended = await ann.until(waits.name, "STOPPED")
    assert ended.status.reason == cluster_pb2.END_REASON_BUDGET
    told = "The cluster waited for room, and meanwhile the budget of users/ann of a cost of 300 for the month"
    assert ended.status.message.startswith(told)
    assert (await ann.get(first.name)).status.phase < cluster_pb2.PHASE_STOPPING  # it runs on, and does not grow
    await ann.stop(first.name)
    await bob.until(next_.name, "RUNNING")
    assert (await carl.get(last.name)).status.phase == cluster_pb2.PHASE_QUEUED


async def test_a_warning_comes_once_also_after_a_restart(site: Site, directory: Path, eventually: Eventually) -> None:
    replica = await controller(site, directory, "stop")
    rich = await replica.user("rich")
    made = await rich.create()
    await eventually(lambda: count(rich, made.name, "BUDGET_WARNED"))
    ((_, message),) = [event for event in await events(rich, made.name) if event[0] == "BUDGET_WARNED"]
    assert "budget of users/rich" in message
    assert "Then clusters are stopped" in message
    await rich.until(made.name, "RUNNING")  # the next replica has no proxy
    await site.stop(replica)
    replica = await controller(site, directory, "stop", name="b")
    rich = await replica.user("rich")
    await rich.scale(made.name, 1)
    await rich.until(made.name, "RUNNING", running=1)
    assert await count(rich, made.name, "BUDGET_WARNED") == 1


async def test_a_groups_budget_binds_all_its_members_and_no_others(
    site: Site, directory: Path, eventually: Eventually
) -> None:
    replica = await controller(site, directory, "warn")
    bob = await replica.user("bob", groups=["lab"])
    eve = await replica.user("eve", groups=["lab", "other"])
    await bob.create()
    await eventually(lambda: is_refused(eve))
    error = await fails(QuotaExceeded, eve.create())
    assert error.details["subject"] == "groups/lab"
    await (await replica.user("eve", groups=["other"])).create()


@pytest.mark.parametrize("name", ["bob", "ann"])
async def test_budgets_are_their_owners(site: Site, directory: Path, name: str) -> None:
    replica = await controller(site, directory, "warn")
    answer = await ask(replica, name, method="ListBudgets", groups=["lab"])
    subjects = [one.subject for one in answer.budgets]
    assert subjects == (["groups/lab"] if name == "bob" else ["users/ann", "groups/lab"])
    assert answer.currency == "EUR"
    await fails(PermissionDenied, ask(replica, name, method="ListBudgets", user="users/rich"))
    others = await ask(replica, "root", ADMIN, method="ListBudgets", user="users/rich")
    assert [one.subject for one in others.budgets] == ["users/rich"]


async def test_replicas_judge_by_the_same_sums(site: Site, directory: Path, eventually: Eventually) -> None:
    replicas = [await controller(site, directory, "stop_growing", name=name) for name in ("a", "b")]
    ann, again = [await replica.user("ann") for replica in replicas]
    made = await ann.create()
    for replica in replicas:  # each reads the sums in its own time
        await used_up(replica, eventually)
    await fails(QuotaExceeded, again.create())
    await ann.stop(made.name)
    for user in (ann, again):
        await fails(QuotaExceeded, user.create())
