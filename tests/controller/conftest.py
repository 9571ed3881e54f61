"""A store on the real Valkey that leaves nothing behind, and a whole deployment of controllers on it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis
from tests.controller.builders import event

from headrace_chassis.identity.caller import ADMIN, USER
from headrace_chassis.redis.keys import Prefix
from headrace_controller.keys import Keys
from headrace_controller.model import Cluster, Demand, Limits
from headrace_controller.store import Fence, Store

if TYPE_CHECKING:
    from tests.controller.running import Replica, Site
    from tests.controller.user import User


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
    by_kind = {
        kind: {
            key.removeprefix(keys.prefix.key(kind, "")) for key in found if key.startswith(keys.prefix.key(kind, ""))
        }
        for kind in ("cluster", "workers", "touched", "events")
    }
    records = by_kind.pop("cluster")
    assert all(clusters <= records for clusters in by_kind.values())


@pytest.fixture
async def fence(redis: Redis, keys: Keys) -> Fence:
    """The fence of the holder of the lease of shard 0."""
    await redis.hset(keys.lease(0), mapping={"holder": "replica-a", "fence": "7"})
    await redis.expire(keys.lease(0), 60)
    return Fence(0, 7)


ONE = Demand(clusters=1, cores_milli=1000, memory_bytes=2**30)


class Recorder:
    """Creates records with defaults for what a test does not care about."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def __call__(
        self,
        cluster: Cluster,
        *,
        demand: Demand = ONE,
        limits: Mapping[str, Limits] | None = None,
        request_id: str = "",
    ) -> Cluster:
        created, _ = await self.again(cluster, demand=demand, limits=limits, request_id=request_id)
        return created

    async def again(
        self,
        cluster: Cluster,
        *,
        demand: Demand = ONE,
        limits: Mapping[str, Limits] | None = None,
        request_id: str = "",
    ) -> tuple[Cluster, bool]:
        """As a plain call; also returns whether this call has created the record."""
        return await self._store.records.create(
            cluster, secrets=b"sealed", demand=demand, limits=limits or {}, request_id=request_id, event=event()
        )


@pytest.fixture
def record(store: Store) -> Recorder:
    return Recorder(store)


# Controllers with a fake machine, fake agents and a fake proxy; everything between is real.


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose path is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="hrc-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def site(directory: Path, redis_url: str, redis: Redis) -> AsyncIterator[Site]:
    from tests.controller.running import site  # tests of pure functions need no controller

    _ = redis  # flushed
    async with site(directory, redis_url) as made:
        yield made


@pytest.fixture
async def controller(site: Site) -> Replica:
    return await site.replica()


@pytest.fixture
async def ann(controller: Replica) -> User:
    return await controller.user("ann")


@pytest.fixture
async def bob(controller: Replica) -> User:
    return await controller.user("bob")


@pytest.fixture
async def admin(controller: Replica) -> User:
    return await controller.user("root", USER, ADMIN)
