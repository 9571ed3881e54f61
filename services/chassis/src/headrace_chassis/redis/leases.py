"""Leases: which replica works on which shard, with a fencing number that the store checks.

A replica renews all its leases in one script call per round. It counts them as lost when their time to live has passed
since it *sent* the last renewal that was answered. That is before Redis grants them to another replica.

Redis' clock may be set back: what expires later than a time to live from now is cut to that by every replica's round.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType

import redis.asyncio

from headrace.errors import StoreUnavailable
from headrace_chassis import metrics
from headrace_chassis.logs import get_logger
from headrace_chassis.redis import keys, lua

SHARDS = 16
ROUNDS_PER_TTL = 3
RELEASE_SECONDS = 1.0

ShardCallback = Callable[[int], object]

log = get_logger()
_tick = lua.load("headrace_chassis.redis", "lease_tick", when_full=True)
_release = lua.load("headrace_chassis.redis", "lease_release", when_full=True)


def shard_of(cluster_id: str, shards: int = SHARDS) -> int:
    """Return the shard that a cluster belongs to; the same in every process and release."""
    return zlib.crc32(cluster_id.encode()) % shards


class ShardLeases:
    """This replica's leases; `run` keeps them.

    Parameters
    ----------
    replica
        Name of this replica, unique among all.
    shards
        Number of shards, the same in all replicas.
    ttl
        Time after its last renewal at which a lease expires.
    """

    def __init__(
        self,
        redis: redis.asyncio.Redis,
        prefix: keys.Prefix,
        replica: str,
        *,
        shards: int = SHARDS,
        ttl: timedelta = timedelta(seconds=3),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._replica = replica
        self._ttl = ttl.total_seconds()
        self._clock = clock
        self._replicas_key = keys.lease_replicas(prefix)
        self._fence_key = keys.lease_fence(prefix)
        self._lease_keys = [keys.lease(prefix, shard) for shard in range(shards)]
        self._held: dict[int, int] = {}
        self._surplus: list[int] = []
        self._valid_until = float("-inf")
        self._gained: list[ShardCallback] = []
        self._lost: list[ShardCallback] = []

    @property
    def held(self) -> Mapping[int, int]:
        """Shards held, with their fences; empty as soon as the leases may have expired."""
        return MappingProxyType(self._held if self._clock() < self._valid_until else {})

    def on_gain(self, callback: ShardCallback) -> None:
        """Call `callback(shard)` after a shard was gained; its fence is in `held`."""
        self._gained.append(callback)

    def on_lose(self, callback: ShardCallback) -> None:
        """Call `callback(shard)` when a shard is no longer held; if it is released, before another replica gets it."""
        self._lost.append(callback)

    async def run(self) -> None:
        """Renew, acquire and release until cancelled; then release everything."""
        try:
            while True:
                await self._round()
                if not self._surplus:
                    await asyncio.sleep(self._ttl / ROUNDS_PER_TTL)
        finally:
            await self.release()

    async def release(self) -> None:
        """Release everything, so that others need not wait until the leases expire."""
        self._hold({})
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await _release(self._redis, [self._replicas_key, *self._lease_keys], [self._replica])
        except (StoreUnavailable, TimeoutError) as error:
            log.warning("leases not released; they will expire", error=str(error))

    async def tick(self) -> None:
        """Do one round: renew, acquire free shards up to the fair share, release those above it."""
        sent = self._clock()
        arguments = [self._replica, int(self._ttl * 1000), *self._surplus]
        self._surplus = []
        answer: list[int] = await _tick(
            self._redis, [self._replicas_key, self._fence_key, *self._lease_keys], arguments
        )
        share, shards, fences = answer[0], answer[1::2], answer[2::2]
        # Released newest first: what was gained last has the least work under way.
        held = sorted(zip(shards, fences, strict=True), key=lambda lease: lease[1])
        self._surplus = [shard for shard, _ in held[share:]]
        if not self.held:  # they expired before this answer came: what others asked for meanwhile was refused
            self._hold({})
        self._valid_until = sent + self._ttl
        self._hold(dict(held[:share]))

    async def _round(self) -> None:
        try:
            async with asyncio.timeout(self._ttl / ROUNDS_PER_TTL):
                await self.tick()
        except (StoreUnavailable, TimeoutError) as error:
            metrics.LEASE_TICK_FAILURES.inc()
            log.warning("leases not renewed", error=str(error) or "no answer in time", held=len(self.held))
        except Exception:  # logged in full; what is held expires
            metrics.LEASE_TICK_FAILURES.inc()
            log.exception("renewing leases failed", held=len(self.held))
        if not self.held:
            self._hold({})

    def _hold(self, now: dict[int, int]) -> None:
        before, self._held = self._held, now
        metrics.LEASES_HELD.set(len(now))
        changed = [shard for shard in before | now if before.get(shard) != now.get(shard)]
        for shard in changed:
            if shard in before:
                log.info("shard lost", shard=shard, fence=before[shard])
                _call(self._lost, shard)
            if shard in now:
                log.info("shard gained", shard=shard, fence=now[shard])
                _call(self._gained, shard)


def _call(callbacks: list[ShardCallback], shard: int) -> None:
    """One callback's fault must not keep the others from hearing, nor end the leases."""
    for callback in callbacks:
        try:
            callback(shard)
        except Exception:  # logged in full
            log.exception("what hears of leases failed", shard=shard)
