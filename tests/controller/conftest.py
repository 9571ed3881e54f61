"""A store on the real Valkey that leaves nothing behind."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
from redis.asyncio import Redis

from headrace_chassis.redis.keys import Prefix
from headrace_controller.keys import Keys
from headrace_controller.model import Cluster, ClusterId, Demand, Event, Limits, Spec, UserId
from headrace_controller.store import Fence, Store

ANN = UserId("ann")


@pytest.fixture
def keys() -> Keys:
    return Keys(Prefix("test"))


@pytest.fixture
async def store(redis: Redis, keys: Keys) -> AsyncIterator[Store]:
    """A store; after the test every key has an expiry or is known to be permanent, and no record has left a trace."""
    yield Store(redis, keys)
    await assert_no_leaks(redis, keys)


async def assert_no_leaks(redis: Redis, keys: Keys) -> None:
    found = [key.decode() async for key in redis.scan_iter()]
    lasting = [key for key in found if await redis.ttl(key) == -1]
    assert [key for key in lasting if not keys.permanent(key)] == []
    records = {
        key.removeprefix(keys.record(ClusterId(""))) for key in found if key.startswith(keys.record(ClusterId("")))
    }
    events = {
        key.removeprefix(keys.events(ClusterId(""))) for key in found if key.startswith(keys.events(ClusterId("")))
    }
    assert events <= records


@pytest.fixture
def new_cluster() -> Callable[..., Cluster]:
    """Makes a cluster that is recorded nowhere yet."""

    def make(owner: UserId = ANN, alias: str = "", created: float = 1000.0, spec: Spec | None = None) -> Cluster:
        name = ClusterId("c" + secrets.token_hex(10)[:19])
        return Cluster(id=name, owner=owner, created=created, spec=spec or Spec(alias=alias))

    return make


@pytest.fixture
async def fence(redis: Redis, keys: Keys) -> Fence:
    """The fence of whoever holds the lease of shard 0."""
    await redis.hset(keys.lease(0), mapping={"holder": "replica-a", "fence": "7"})
    await redis.expire(keys.lease(0), 60)
    return Fence(0, 7)


ONE = Demand(clusters=1, cores_milli=1000, memory_bytes=2**30)
CREATED = Event(type="Created", message="Recorded", time=1000.0)


class Recorder:
    """Records clusters with defaults for what a test does not mind."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def __call__(
        self,
        cluster: Cluster,
        *,
        demand: Demand = ONE,
        limits: Mapping[str, Limits] | None = None,
        request_id: str = "",
        must_create: bool = False,
    ) -> tuple[Cluster, bool]:
        return await self._store.create(
            cluster,
            secrets=b"sealed",
            demand=demand,
            limits=limits or {},
            request_id=request_id,
            must_create=must_create,
            event=CREATED,
        )


@pytest.fixture
def record(store: Store) -> Recorder:
    return Recorder(store)
