"""A whole controller queues, tells, admits, and forgets nothing when it is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from tests.controller.replaced import replace_file
from tests.controller.running import Site

from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb

LIMITS: dict[str, Any] = {
    "on_create": "queue",
    "user": {"clusters": 1},
    "queue": {"each": 3},
}


async def events(user: Any, name: str) -> list[str]:
    answer = await user.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=name))
    return [event.message for event in answer.cluster_events]


async def test_a_cluster_waits_starts_and_lives_through_a_restart_of_all_replicas(site: Site) -> None:
    replica = await site.replica("a", limits=LIMITS)
    ann = await replica.user("ann")
    first = await ann.create()
    second, third = await ann.create(), await ann.create()
    assert [cluster.status.phase for cluster in (second, third)] == [cluster_pb2.PHASE_QUEUED] * 2
    await ann.until(first.name, "RUNNING")
    await ann.until(second.name, "QUEUED")
    await site.stop(replica)
    replica = await site.replica("b", limits=LIMITS)
    site.connect_proxy(replica)
    ann = await replica.user("ann")
    assert (await ann.get(third.name)).status.message.startswith(
        "Waiting for room: users/ann may have 1 cluster, of which 1 is used. 1 cluster is before it."
    )
    await ann.stop(first.name)
    running = await ann.until(second.name, "RUNNING")
    assert (await ann.get(third.name)).status.phase == cluster_pb2.PHASE_QUEUED
    messages = await events(ann, running.name)
    assert "Waiting for room: users/ann may have 1 cluster, of which 1 is used. It is the next." in messages
    assert any(message.startswith("There is room for the cluster.") for message in messages)
    await ann.stop(third.name)
    await ann.until(third.name, "STOPPED")


async def test_workers_wait_and_come_after_a_restart_of_all_replicas(site: Site) -> None:
    limits: dict[str, Any] = {"on_scale": "queue", "user": {"workers": 3}, "cluster": {"workers": 4}}
    replica = await site.replica("a", limits=limits)
    ann = await replica.user("ann")
    other = await ann.create(worker_groups=[cluster_pb2.WorkerGroup(name="default", size=2)])
    cluster = await ann.create()
    await ann.until(cluster.name, "RUNNING")
    await ann.scale(cluster.name, 9)
    cluster = await ann.until(cluster.name, "RUNNING", running=1)
    assert [group.size for group in cluster.spec.worker_groups] == [3]
    clipped = "requested 9 workers in group 'default', and gets 3: users/ann may have at most 3 workers of this size."
    assert f"ann {clipped}" in await events(ann, cluster.name)
    await site.stop(replica)
    replica = await site.replica("b", limits=limits)
    site.connect_proxy(replica)
    ann = await replica.user("ann")
    cluster = await ann.get(cluster.name)
    assert cluster.status.message.startswith(
        "2 more workers wait for room: users/ann may have 3 workers, of which 3 are used."
    )
    assert cluster.status.message in await events(ann, cluster.name)
    await ann.stop(other.name)
    cluster = await ann.until(cluster.name, "RUNNING", running=3)
    assert cluster.status.message == ""


async def test_a_limit_that_was_lowered_counts_after_a_restart_and_at_once(site: Site, directory: Path) -> None:
    file = directory / "policy.yaml"

    def write(workers: int) -> None:
        replace_file(file, f"limits: {{user: {{workers: {workers}}}, on_lowered: scale_down, lowered_grace: 0}}")

    write(4)
    replica = await site.replica("a", policy_file=file)
    ann = await replica.user("ann")
    cluster = await ann.create(worker_groups=[cluster_pb2.WorkerGroup(name="default", size=3)])
    await ann.until(cluster.name, "RUNNING", running=3)
    await site.stop(replica)
    write(2)
    replica = await site.replica("b", policy_file=file)
    site.connect_proxy(replica)
    ann = await replica.user("ann")
    await ann.until(cluster.name, "RUNNING", running=2)
    write(1)
    await ann.until(cluster.name, "RUNNING", running=1)
    messages = [message for message in await events(ann, cluster.name) if "retired:" in message]
    assert messages == [
        "1 worker is retired: users/ann may have 2 workers, and has 3.",
        "1 worker is retired: users/ann may have 1 worker, and has 2.",
    ]


async def test_a_user_says_how_long_to_wait(site: Site) -> None:
    replica = await site.replica("a", limits={**LIMITS, "queue": {"timeout": 3600}})
    ann = await replica.user("ann")
    await ann.create()
    with pytest.raises(Exception, match="users/ann may have 1 cluster, has 1"):
        await ann.create(request={"queue_timeout": Duration()})
    with pytest.raises(Exception, match="queue_timeout"):
        await ann.create(request={"queue_timeout": Duration(seconds=-1)})
    waiting = await ann.create(request={"queue_timeout": Duration(nanos=1_000_000)})
    failed = await ann.until(waiting.name, "FAILED")
    assert failed.status.reason == cluster_pb2.END_REASON_QUEUE_TIMEOUT
    assert failed.status.message.startswith("The cluster waited for room for 0.001 s: users/ann may have 1 cluster")
