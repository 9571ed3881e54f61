"""What is damaged, or of a newer release, is its owner's trouble alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from tests.backends.fake_machine import FakeMachine
from tests.conftest import Eventually
from tests.controller.agents.fake_agents import FakeAgents
from tests.controller.bad_records import GARBAGE, KEYS, STRANGE, UNREADABLE, events, listed
from tests.controller.errors_of import fails
from tests.controller.fake_proxy import FakeProxy
from tests.controller.running import Site, User
from typing_extensions import override

from headrace.errors import ClusterNotFound, StoreUnavailable
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_controller.backends.process import ProcessKey, ProcessState, ProcessStatus, Role
from headrace_controller.model import ClusterId
from headrace_controller.store.codec import pack


async def test_bad_records_are_set_aside_one_by_one(site: Site, redis: Redis, eventually: Eventually) -> None:
    replica = await site.replica(resync_seconds=0.5, orphan_grace_seconds=0)
    ann, bob = await replica.user("ann"), await replica.user("bob")
    victims = {name: (await ann.create()).name for name in (UNREADABLE | STRANGE)}
    fine, bobs = (await ann.create()).name, (await bob.create()).name
    for name in (*victims.values(), fine, bobs):
        await ann.until(name, "RUNNING") if name != bobs else await bob.until(name, "RUNNING")
    everything = ann.stream("WatchClusters", pb.WatchClustersRequest(include_events=True))
    processes = len(site.machine.running())

    for name, damage in (UNREADABLE | STRANGE).items():
        await damage(redis, ClusterId(victims[name].removeprefix("clusters/")))
    await damage_events_and_routes(redis, ClusterId(fine.removeprefix("clusters/")))

    for name in UNREADABLE:
        error = await fails(StoreUnavailable, ann.get(victims[name]))
        assert "ask your administrator" in error.message, name
        await fails(StoreUnavailable, ann.scale(victims[name], 1))
        await fails(ClusterNotFound, bob.get(victims[name]))
    await all_goes_on(ann, fine, 1)
    await all_goes_on(bob, bobs, 1)
    assert await is_told(everything, fine)

    async def failures_told() -> int:
        told = await events(ann, victims["a route version that cannot be compared"])
        return told.count(cluster_pb2.EVENT_TYPE_RECONCILING_FAILED)

    await eventually(failures_told)
    assert await failures_told() == 1
    everything.cancel()

    await site.stop(replica)  # the next one has never read them
    replica = await site.replica("b", resync_seconds=0.5, orphan_grace_seconds=0)
    site.connect_proxy(replica)
    ann, bob = await replica.user("ann"), await replica.user("bob")
    for name in UNREADABLE:
        await fails(StoreUnavailable, ann.get(victims[name]))
        await fails(ClusterNotFound, bob.get(victims[name]))
    await all_goes_on(ann, fine, 2)
    await all_goes_on(bob, bobs, 2)
    assert {fine} <= await listed(ann) <= {fine, *victims.values()}
    assert await listed(bob) == {bobs}
    reader = FakeProxy("auth-0", acknowledges=False)
    reading = asyncio.create_task(reader.run(replica.settings.internal_listen))
    await eventually(lambda: {fine, bobs} <= reader.routes.keys())
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    before = steps()
    await eventually(lambda: steps() > before + 5)  # several rounds over everything
    assert len(site.machine.running()) == processes + 4  # nobody's process was stopped
    assert replica.task is not None
    assert not replica.task.done()


def steps() -> float:
    return REGISTRY.get_sample_value("headrace_controller_reconciles_total", {"outcome": "done"}) or 0.0


@pytest.fixture(autouse=True)
def plain_tracebacks() -> Iterator[None]:
    """As the services log them. Rich ones take half a second each, in which nothing else goes on."""
    *others, _ = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*others, plain])
    yield
    structlog.reset_defaults()


class FaultyMachine(FakeMachine):
    """Fails in a way that no backend may, while it is `faulty`."""

    faulty = False
    failures = 0

    @override
    def check(self) -> None:
        if self.faulty:
            self.failures += 1
            raise ValueError("a fault of the backend")


async def test_faults_of_a_backend_end_no_loop(site: Site, eventually: Eventually) -> None:
    machine = FaultyMachine()
    site.machine, site.agents = machine, FakeAgents(machine, [])
    replica = await site.replica(resync_seconds=0.1, retention_seconds=0.1, orphan_grace_seconds=0.1)
    ann = await replica.user("ann")
    made, ended = await ann.create(), await ann.create()
    for cluster in (made, ended):
        await ann.until(cluster.name, "RUNNING")

    machine.faulty = True
    await ann.stop(ended.name)
    await ann.scale(made.name, 1)
    nobodys = ProcessKey("cnobodys", "scheduler")
    machine.kept_manifests["cnobodys"] = b"no manifest"
    machine.set(ProcessStatus(key=nobodys, role=Role.SCHEDULER, generation=1, state=ProcessState.RUNNING))

    async def is_told() -> bool:
        return cluster_pb2.EVENT_TYPE_RECONCILING_FAILED in await events(ann, made.name)

    await eventually(is_told)
    before = machine.failures
    await eventually(lambda: machine.failures > before + 5)
    machine.faulty = False

    await ann.until(made.name, "RUNNING", running=1)
    await eventually(lambda: machine.running("cnobodys") == [])

    async def only_one_is_left() -> bool:
        return await listed(ann) == {made.name}

    await eventually(only_one_is_left)
    assert replica.task is not None
    assert not replica.task.done()


async def damage_events_and_routes(redis: Redis, cluster: ClusterId) -> None:
    """Whatever is not a record; none of it ends a stream or a loop."""
    for event in (GARBAGE, pack({"type": "Created", "message": "", "time": 1e300})):
        await redis.xadd(KEYS.events(cluster), {"event": event})
        entry = {
            "kind": "event",
            "cluster": cluster,
            "owner": "ann",
            "revision": "0",
            "event": event,
            "event_id": "1-0",
        }
        await redis.xadd(KEYS.changes(), entry)  # pyright: ignore[reportArgumentType] narrower than what redis-py takes
    await redis.xadd(KEYS.changes(), {"kind": "of-a-newer-release", "x": "y"})
    await redis.xadd(KEYS.changes(), {"no": "kind"})
    await redis.hset(KEYS.routes(), "c-damaged", GARBAGE)
    forever = {
        "cluster": "c-strange",
        "access": {"owner": "ann", "shares": [{"member": "a", "rights": [], "expires": 1e300}]},
    }
    await redis.hset(KEYS.routes(), "c-strange", pack(forever))
    for route in (GARBAGE, pack(forever)):
        await redis.xadd(KEYS.route_log(), {"cluster": "c-damaged", "route": route})
    await redis.hset(KEYS.acknowledged(), "a-reader", GARBAGE)
    await redis.zadd(KEYS.readers(), {"a-reader": time.time() + 1})


async def all_goes_on(user: User, name: str, size: int) -> None:
    """Reads, lists, writes, events and new clusters of somebody whose records are fine."""
    assert (await user.get(name)).name == name
    assert name in await listed(user)
    await user.scale(name, size)
    await user.until(name, "RUNNING", running=size)
    assert await events(user, name)
    made = await user.create()
    await user.until(made.name, "RUNNING")
    await user.stop(made.name)
    await user.until(made.name, "STOPPED")
    await user.delete(made.name)


async def is_told(watch: Any, name: str) -> bool:
    """Whether a watch that was open all the time has told of a worker of this cluster."""
    async with asyncio.timeout(30):
        async for response in watch:
            cluster = response.cluster
            if cluster.name == name and sum(group.running for group in cluster.status.worker_groups) == 1:
                return True
    return False
