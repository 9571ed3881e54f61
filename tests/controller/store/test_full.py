"""A Valkey whose memory is used up refuses what grows, and lets clusters be read, stopped and removed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from redis.asyncio import Redis
from tests.controller.builders import new_cluster, running_cluster
from tests.controller.conftest import Recorder

from headrace.errors import StoreUnavailable
from headrace_chassis.redis.keys import Prefix
from headrace_chassis.redis.leases import SHARDS, ShardLeases
from headrace_controller.model import Cluster, Demand, Phase, Status
from headrace_controller.store import Fence, Store


@pytest.fixture
async def full(redis: Redis) -> AsyncIterator[Redis]:
    """Fill up with `await full.config_set("maxmemory", 1)`."""
    yield redis
    await redis.config_set("maxmemory", 0)


def _no_more(cluster: Cluster) -> Demand:
    return Demand(clusters=1)


async def test_a_cluster_is_read_stopped_and_removed_and_none_is_created(
    store: Store, record: Recorder, fence: Fence, full: Redis
) -> None:
    made = await record(running_cluster())
    await full.config_set("maxmemory", 1)

    with pytest.raises(StoreUnavailable, match=r"store is full \(.*\): .*stop clusters that are not needed, or ask"):
        await record(new_cluster())
    with pytest.raises(StoreUnavailable, match="store is full"):
        await store.records.save_report(made, replace(made.report, sequence=made.report.sequence + 1))
    assert await store.reads.get(made.id) == made

    stopping = replace(made, spec=replace(made.spec, stop=True))
    stopped = await store.records.change(made, lambda _: stopping, etag="", demand=_no_more, limits={})
    ended = replace(stopped, status=Status(phase=Phase.STOPPED, ended=2000.0))
    await store.records.save_status(stopped, ended, fence=fence)
    await store.records.remove(made.id)

    assert not await store.reads.exists(made.id)


async def test_leases_are_acquired_and_released(full: Redis) -> None:
    """Without them no controller stops or removes a cluster."""
    await full.config_set("maxmemory", 1)
    leases = ShardLeases(full, Prefix("full"), "a", ttl=timedelta(seconds=60))
    await leases.tick()
    assert len(leases.held) == SHARDS
    await leases.release()
