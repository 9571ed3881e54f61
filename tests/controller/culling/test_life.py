"""What culling does to a cluster from its first idle second to its end, in a whole controller."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from redis.asyncio import Redis
from tests.conftest import Eventually
from tests.controller.bad_records import events
from tests.controller.culling.measured_site import MeasuredSite, cullings, due, happened, known, measured_site
from tests.controller.emptying import empty
from tests.controller.running import Site
from tests.controller.user import User

from headrace.v1 import cluster_pb2
from headrace.v1 import culling_service_pb2 as pb
from headrace_chassis.identity.caller import ADMIN, USER
from headrace_controller.culling.scaling import ScalingToZero
from headrace_controller.model import Cluster

SOON = "culling: {idle: {after: 1 s, warn: 0.2 s, action: scale_to_zero, then_stop: 2 s}}"
WARNED_SOON = "culling: {idle: {after: 1 h, warn: 3599 s}}"
NEVER_STALE = {"stale_seconds": 60}  # a slow machine makes no pauses, which would withdraw a warning


@pytest.fixture
async def measured(site: Site, directory: Path) -> AsyncIterator[MeasuredSite]:
    policy = directory / "policy.yaml"
    policy.write_text(WARNED_SOON)
    async with measured_site(site, policy) as made:
        yield made


async def keep(user: User, cluster: cluster_pb2.Cluster) -> float:
    """Keep a cluster for two hours; return until when."""
    duration = Duration()
    duration.FromTimedelta(timedelta(hours=2))
    kept = await user.ask_culling("KeepCluster", pb.KeepClusterRequest(name=cluster.name, duration=duration))
    return kept.spec.keep_until_time.ToNanoseconds() / 1e9


async def test_an_idle_cluster_is_warned_scaled_to_zero_warned_again_and_stopped(measured: MeasuredSite) -> None:
    measured.policy.write_text(SOON)
    measured.work()
    ann = await (await measured.replica(signals=NEVER_STALE)).user("ann")
    cluster = await ann.create()
    await ann.scale(cluster.name, 2)
    await ann.until(cluster.name, "RUNNING", running=2)
    measured.rest()
    ended = await ann.until(cluster.name, "STOPPED")
    assert ended.status.reason == cluster_pb2.END_REASON_IDLE
    assert [group.size for group in ended.spec.worker_groups] == [0]
    assert await happened(ann, cluster.name) == ["CULLING_WARNED", "CULLED", "CULLING_WARNED", "STOPPING"]


async def test_a_cluster_that_its_user_stops_as_it_is_scaled_to_zero_stops_without_a_fault(
    measured: MeasuredSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply, applied = ScalingToZero.apply, 0

    async def late(scaling: ScalingToZero, seen: Cluster, why: str) -> None:
        nonlocal applied
        applied += 1
        await ann.stop(cluster.name)
        await apply(scaling, seen, why)

    monkeypatch.setattr(ScalingToZero, "apply", late)
    measured.policy.write_text(SOON)
    ann = await (await measured.replica(signals=NEVER_STALE)).user("ann")
    cluster = await ann.create()
    await ann.scale(cluster.name, 1)
    ended = await ann.until(cluster.name, "STOPPED")
    assert ended.status.reason == cluster_pb2.END_REASON_USER
    assert applied == 1
    assert cluster_pb2.EVENT_TYPE_RECONCILING_FAILED not in await events(ann, cluster.name)


async def test_nothing_follows_a_warning_while_a_scheduler_says_what_cannot_be_true(
    measured: MeasuredSite, eventually: Eventually
) -> None:
    replica = await measured.replica()
    ann, admin = await replica.user("ann"), await replica.user("root", USER, ADMIN)
    lies, other = await ann.create(), await ann.create()
    await ann.until(other.name, "RUNNING")
    told: list[str] = []

    async def listed() -> dict[str, tuple[bool, bool]]:
        return {one.cluster: (one.warned, one.HasField("act_time")) for one in await cullings(admin)}

    async def both_warned() -> bool:
        told[:] = await happened(ann, lies.name)
        return await listed() == {lies.name: (True, True), other.name: (True, True)}

    async def only_the_other_is_known() -> bool:
        return await listed() == {lies.name: (True, False), other.name: (True, True)}

    await eventually(both_warned)
    measured.liars[lies.name.removeprefix("clusters/")] = {"clients": -1}
    await eventually(only_the_other_is_known)
    later = (await happened(ann, lies.name))[len(told) :]
    assert set(later) <= {"CULLING_WITHDRAWN", "CULLING_WARNED"}  # a slow machine makes pauses, before the lies


async def test_a_start_that_never_completes_is_given_up(measured: MeasuredSite) -> None:
    site = measured.site
    site.agents.automatic = False
    ann = await (await measured.replica(start_timeout_seconds=0.5)).user("ann")
    ended = await ann.until((await ann.create()).name, "FAILED")
    assert ended.status.reason == cluster_pb2.END_REASON_START_TIMEOUT
    assert site.machine.running() == []


@pytest.mark.parametrize(("settings", "after"), [({}, 1800), ({"idle_timeout_seconds": 60}, 60)])
async def test_without_a_policy_file_an_idle_cluster_is_warned_and_stopped_too(
    measured: MeasuredSite, eventually: Eventually, settings: dict[str, Any], after: float
) -> None:
    replica = await measured.replica(policy_file=None, **settings)
    ann, admin = await replica.user("ann"), await replica.user("root", USER, ADMIN)
    running = await ann.until((await ann.create()).name, "RUNNING")
    begun = running.create_time.ToNanoseconds() / 1e9
    culling = await known(admin, eventually)
    assert begun + after <= culling.act_time.ToNanoseconds() / 1e9 < time.time() + after
    warned = culling.act_time.ToNanoseconds() - culling.warn_time.ToNanoseconds()
    assert warned == min(300, after / 2) * 1e9


async def test_work_after_the_warning_withdraws_it_and_idleness_begins_again(
    measured: MeasuredSite, eventually: Eventually
) -> None:
    replica = await measured.replica(signals=NEVER_STALE)
    ann, admin = await replica.user("ann"), await replica.user("root", USER, ADMIN)
    cluster = await ann.create()

    async def so_far() -> list[str]:
        return await happened(ann, cluster.name)

    async def warned() -> bool:
        return await so_far() == ["CULLING_WARNED"]

    async def withdrawn() -> bool:
        return await so_far() == ["CULLING_WARNED", "CULLING_WITHDRAWN"]

    await eventually(warned)
    measured.work()
    await eventually(withdrawn)
    measured.rest()
    assert measured.idle_since is not None
    assert await due(admin, eventually) >= measured.idle_since + 3600


@pytest.mark.parametrize("store", ["kept", "emptied"])
async def test_a_cluster_that_was_kept_after_a_warning_is_kept_by_the_next_controller(
    measured: MeasuredSite, redis: Redis, eventually: Eventually, store: str
) -> None:
    first = await measured.replica("a")
    ann = await first.user("ann")
    cluster = await ann.create()
    await ann.until(cluster.name, "RUNNING")

    async def warned() -> bool:
        return bool(await happened(ann, cluster.name))

    await eventually(warned)
    name = cluster.name.removeprefix("clusters/")
    manifests = measured.site.machine.kept_manifests
    before = manifests[name]
    until = await keep(ann, cluster)
    await eventually(lambda: manifests[name] != before)
    await measured.site.stop(first)
    if store == "emptied":
        await empty(redis)
    second = await measured.replica("b")
    measured.site.connect_proxy(second)
    admin = await second.user("root", USER, ADMIN)

    assert await due(admin, eventually) == pytest.approx(until, abs=0.01)
    assert (await admin.get(cluster.name)).status.phase == cluster_pb2.PHASE_RUNNING
