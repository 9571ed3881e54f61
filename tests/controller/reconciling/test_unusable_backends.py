"""A backend that cannot be opened, or that the deployment has no more: its clusters fail, or wait and say so."""

from __future__ import annotations

from typing import Any

import pytest
from tests.backends.fake_machine import FakeMachine
from tests.conftest import Eventually
from tests.controller.agents.fake_agents import FakeAgents
from tests.controller.running import Site
from tests.controller.user import User

from headrace.errors import StoreUnavailable
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.enums import EventType, ExitCause, WaitReason
from headrace_controller.model import ClusterId, Event, UserId
from headrace_controller.store.events import Events

PROFILES = {"first": {"backend": "one"}, "second": {"backend": "two"}}
CLOSED = "the directory is closed"


@pytest.fixture
def two(site: Site) -> FakeMachine:
    """The machine of the second backend; agents are those of its processes."""
    site.others["two"] = FakeMachine()
    site.agents = FakeAgents(site.others["two"], [])
    return site.others["two"]


async def started(site: Site, name: str = "a", **settings: Any) -> User:
    return await (await site.replica(name, profiles=PROFILES, **settings)).user("ann")


def is_tried(cluster: cluster_pb2.Cluster) -> bool:
    sentence = f"The scheduler cannot be started: backend two: {CLOSED}. It is tried again until "
    return cluster.status.message.startswith(sentence)


async def test_what_says_why_it_cannot_be_opened_fails_clusters_at_once(two: FakeMachine, site: Site) -> None:
    two.trouble, two.trouble_cause = CLOSED, ExitCause.START_FAILED
    ann = await started(site)
    failed = await ann.until((await ann.create(profile="second")).name, "FAILED")
    assert failed.status.reason == cluster_pb2.END_REASON_BACKEND_ERROR
    assert failed.status.message == f"The scheduler cannot be started: backend two: {CLOSED}."


async def test_what_does_not_say_why_has_the_time_of_a_start(two: FakeMachine, site: Site) -> None:
    two.trouble = CLOSED
    ann = await started(site, start_timeout_seconds=0.5)
    failed = await ann.until((await ann.create(profile="second")).name, "FAILED")
    assert failed.status.reason == cluster_pb2.END_REASON_START_TIMEOUT
    assert failed.status.message.endswith(f"The scheduler cannot be started: backend two: {CLOSED}.")


async def test_a_platform_that_is_away_is_waited_for_until_it_answers(
    two: FakeMachine, site: Site, eventually: Eventually
) -> None:
    two.trouble, two.trouble_wait = CLOSED, WaitReason.PLATFORM_AWAY
    ann = await started(site)
    waits, unwanted = await ann.create(profile="second"), await ann.create(profile="second")
    for made in (waits, unwanted):

        async def told(name: str = made.name) -> bool:
            return is_tried(await ann.get(name))

        await eventually(told)
    await ann.stop(unwanted.name)
    await ann.until(unwanted.name, "STOPPED")
    two.trouble = ""
    await ann.until(waits.name, "RUNNING", within=60)
    assert len(two.starts) == 1


class LostEvents:
    """Loses the first event that a step fails: the store is away just then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lost = 0
        add = Events.add

        async def lose(events: Events, cluster: ClusterId, owner: UserId, event: Event) -> Event:
            if event.type is EventType.RECONCILING_FAILED and not self.lost:
                self.lost += 1
                raise StoreUnavailable("away")
            return await add(events, cluster, owner, event)

        monkeypatch.setattr(Events, "add", lose)


@pytest.mark.parametrize("loses_one", [False, True])
async def test_a_cluster_that_runs_is_told_what_keeps_its_processes_from_being_seen(
    two: FakeMachine, site: Site, eventually: Eventually, monkeypatch: pytest.MonkeyPatch, *, loses_one: bool
) -> None:
    events = LostEvents(monkeypatch) if loses_one else None
    ann = await started(site)
    runs = await ann.create(profile="second")
    await ann.until(runs.name, "RUNNING")
    await site.stop(site.replicas[0])
    two.trouble, two.trouble_wait = CLOSED, WaitReason.PLATFORM_AWAY
    ann = await started(site, "b")

    async def told() -> bool:
        found = await ann.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=runs.name))
        sentence = f"headrace cannot see this cluster's processes: backend two: {CLOSED}. What runs is left alone"
        return any(event.message.startswith(sentence) for event in found.cluster_events)

    await eventually(told, within=60)
    assert events is None or events.lost
    await ann.until(runs.name, "RUNNING")


async def test_a_backend_that_has_gone_fails_new_clusters_and_leaves_those_that_run(
    two: FakeMachine, site: Site, eventually: Eventually
) -> None:
    first = await site.replica("a", profiles=PROFILES)
    ann = await first.user("ann")
    runs = await ann.create(profile="second")
    await ann.until(runs.name, "RUNNING")
    two.waits = lambda _spec: WaitReason.UNSCHEDULABLE
    starts = await ann.create(profile="second")
    await site.stop(first)
    del site.others["two"]
    ann = await (await site.replica("b", profiles={"first": {"backend": "one"}})).user("ann")
    failed = await ann.until(starts.name, "FAILED")
    assert failed.status.reason == cluster_pb2.END_REASON_REFUSED
    assert failed.status.message == (
        "The scheduler cannot be started: there is no backend 'two' in this deployment; there are one. Choose other "
        "options, or ask an administrator."
    )

    async def is_reachable() -> bool:
        conditions = (await ann.get(runs.name)).status.conditions
        reachable = next(c for c in conditions if c.type == cluster_pb2.CONDITION_TYPE_REACHABLE)
        return reachable.status == cluster_pb2.CONDITION_STATUS_TRUE

    await eventually(is_reachable)
    await ann.until(runs.name, "RUNNING")
