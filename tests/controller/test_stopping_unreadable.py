"""A cluster whose record cannot be read is stopped by its owner or an admin, and by nobody else."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis
from tests.conftest import Eventually
from tests.controller.bad_records import GARBAGE, KEYS, STRANGE, UNREADABLE, events, field, listed
from tests.controller.damage import overwrite
from tests.controller.errors_of import fails
from tests.controller.running import Site

from headrace.errors import ClusterNotFound, StoreUnavailable
from headrace.v1 import cluster_pb2, right_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_controller.model import ClusterId


async def remove_revision(redis: Redis, cluster: ClusterId) -> None:
    await redis.hdel(KEYS.record(cluster), "revision", "complete_from")
    entry = {"kind": "record", "cluster": cluster, "owner": "ann", "revision": str(await redis.incr(KEYS.version()))}
    await redis.xadd(KEYS.changes(), entry)  # pyright: ignore[reportArgumentType] narrower than what redis-py takes


DAMAGE = UNREADABLE | {
    "no revision": remove_revision,
    "no start of its workers' changes": field(complete_from=None, spec=GARBAGE),
    "what it was promised": field(spec=GARBAGE, promised=GARBAGE),
    "whom it is charged to": field(spec=GARBAGE, charged_to=GARBAGE, alias=None, request=None),
}


async def test_owners_stop_what_cannot_be_read(site: Site, redis: Redis, eventually: Eventually) -> None:
    replica = await site.replica(orphan_grace_seconds=3600)  # so that nothing else stops the processes
    ann, bob, root = await replica.user("ann"), await replica.user("bob"), await replica.user("root", "admin")
    share = cluster_pb2.Share(member="users/bob", rights=[right_pb2.RIGHT_CLUSTER_STOP])
    victims: dict[str, ClusterId] = {}
    for number, name in enumerate(DAMAGE):
        made = await ann.create(alias=f"mine-{number}", request={"shares": [share]})
        await ann.until(made.name, "RUNNING")
        victims[name] = _id(made.name)
    batch, theirs, fine = [(await ann.create()).name for _ in range(3)]
    for made in (batch, theirs, fine):
        await ann.until(made, "RUNNING")
    watch = ann.stream("WatchClusters", pb.WatchClustersRequest(include_events=True))
    told = asyncio.create_task(_removed(watch, {f"clusters/{cluster}" for cluster in victims.values()}))

    for name, damage in DAMAGE.items():
        await damage(redis, victims[name])
        await fails(StoreUnavailable, ann.get(f"clusters/{victims[name]}"))
        await fails(ClusterNotFound, (await replica.user("carl")).stop(f"clusters/{victims[name]}"))
        await fails(StoreUnavailable, bob.stop(f"clusters/{victims[name]}"))  # no share can be read
        assert site.machine.running(victims[name]), name
        stopped = await ann.stop(f"clusters/{victims[name]}")
        assert stopped.status.phase == cluster_pb2.PHASE_STOPPED, name
        assert "kept for the administrator" in stopped.status.message
        assert site.machine.running(victims[name]) == [], name
        await fails(ClusterNotFound, ann.get(f"clusters/{victims[name]}"))
        assert await redis.exists(KEYS.record(victims[name]), KEYS.workers(victims[name])) == 0
        assert 0 < await redis.ttl(KEYS.archived(victims[name])) <= 30 * 86_400
        assert victims[name].encode() not in await redis.hkeys(KEYS.routes())
    for name in (batch, theirs):
        await overwrite(redis, KEYS, _id(name), spec=GARBAGE)
    answer = await ann.call("BatchStopClusters", pb.BatchStopClustersRequest(names=[batch]))
    assert list(answer.stopped) == [batch]
    assert (await root.stop(theirs)).status.phase == cluster_pb2.PHASE_STOPPED

    await asyncio.wait_for(told, 30)
    assert await listed(ann) == {fine}
    assert {await redis.hget(KEYS.usage(subject), "clusters") for subject in ("users/ann", "deployment")} == {b"1"}
    await ann.until((await ann.create(alias="mine-0")).name, "RUNNING")


async def test_a_lost_owner_leaves_it_to_admins(site: Site, redis: Redis) -> None:
    replica = await site.replica()
    ann, root = await replica.user("ann"), await replica.user("root", "admin")
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    await overwrite(redis, KEYS, _id(made.name), owner=None)
    await fails(StoreUnavailable, ann.stop(made.name))
    await root.stop(made.name)
    assert site.machine.running(_id(made.name)) == []


async def test_what_cannot_be_planned_ends_when_it_is_stopped(site: Site, redis: Redis, eventually: Eventually) -> None:
    replica = await site.replica()
    ann = await replica.user("ann")
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    await STRANGE["a route version that cannot be compared"](redis, _id(made.name))

    async def is_failing() -> bool:
        return cluster_pb2.EVENT_TYPE_RECONCILING_FAILED in await events(ann, made.name)

    await eventually(is_failing)
    assert site.machine.running(_id(made.name))
    await ann.stop(made.name)
    await eventually(lambda: site.machine.running(_id(made.name)) == [])


def _id(name: str) -> ClusterId:
    return ClusterId(name.removeprefix("clusters/"))


async def _removed(watch: Any, names: set[str]) -> None:
    """Returns once a watch has told of the stop and the removal of each."""
    stops: set[str] = set()
    left = set(names)
    async for response in watch:
        if response.event.type == cluster_pb2.EVENT_TYPE_STOP_REQUESTED:
            stops.add(response.event.name.partition("/events/")[0])
        left.discard(response.removed)
        if not left and stops >= names:
            return
