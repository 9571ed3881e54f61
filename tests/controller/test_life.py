"""A cluster's life through the public API."""

from __future__ import annotations

from tests.conftest import Eventually
from tests.controller.running import Site, User

from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb


async def types_of_events(user: User, name: str) -> list[str]:
    answer = await user.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=name))
    return [cluster_pb2.EventType.Name(event.type).removeprefix("EVENT_TYPE_") for event in answer.cluster_events]


async def test_a_cluster_is_created_scaled_and_stopped(ann: User, site: Site, eventually: Eventually) -> None:
    created = await ann.create()
    assert created.owner == "users/ann"
    assert created.status.phase == cluster_pb2.PHASE_STARTING

    running = await ann.until(created.name, "RUNNING")
    assert running.status.dashboard_path == f"/{created.name}/status"
    assert running.status.versions == {"distributed": "fake"}

    await ann.scale(created.name, 4)
    scaled = await ann.until(created.name, "RUNNING", running=4)
    assert scaled.status.observed_generation == scaled.generation == 2
    assert len(site.machine.running()) == 5

    await ann.scale(created.name, 1)
    await ann.until(created.name, "RUNNING", running=1)

    async def closed() -> bool:
        return "WORKERS_CLOSED" in await types_of_events(ann, created.name)

    await eventually(closed)  # which is told once their processes have ended, unless the cluster ends before

    await ann.stop(created.name)
    ended = await ann.until(created.name, "STOPPED")
    assert ended.status.reason == cluster_pb2.END_REASON_USER
    assert ended.HasField("end_time")
    assert site.machine.running() == []

    types = await types_of_events(ann, created.name)
    assert types[:3] == ["CREATED", "SCHEDULER_STARTING", "SCHEDULER_STARTED"]
    assert types[-3:] == ["STOP_REQUESTED", "STOPPING", "STOPPED"]
    in_between = {"RUNNING", "SCALE_REQUESTED", "WORKERS_STARTING", "WORKERS_JOINED", "WORKERS_CLOSED"}
    assert in_between <= set(types)
