"""Users whose dashboard sessions were ended: links and sessions that were issued to them before are refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

import redis.asyncio
from cachetools import TTLCache

from headrace import backoff
from headrace.errors import StoreUnavailable
from headrace_auth import keys
from headrace_chassis.logs import get_logger
from headrace_chassis.redis.connection import store_errors
from headrace_chassis.redis.keys import Prefix

# After this time all replicas refuse them.
POLL_SECONDS = 2.0
# Clocks of replicas differ: each reads again what it may have missed.
MARGIN_SECONDS = 120.0
MAX_USERS = 100_000

log = get_logger()


class EndedSessions:
    """Answers from memory; `run` keeps up with the other replicas.

    Parameters
    ----------
    longest_seconds
        Longest life of a link and the session that it opens. What was ended before that time needs no mention.
    """

    def __init__(
        self,
        redis: redis.asyncio.Redis,
        prefix: Prefix,
        *,
        longest_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = redis
        self._key = keys.ended_sessions(prefix)
        self._longest_seconds = longest_seconds
        self._clock = clock
        self._ended: TTLCache[str, float] = TTLCache(MAX_USERS, longest_seconds + MARGIN_SECONDS, clock)
        self._read_until = float("-inf")

    @property
    def is_known(self) -> bool:
        """Whether it was read once which were ended."""
        return self._read_until > float("-inf")

    async def end(self, user: str) -> None:
        """Refuse what was issued to a user until now."""
        now = self._clock()
        with store_errors():
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.zadd(self._key, {user: now}, gt=True)
                pipeline.zremrangebyscore(self._key, "-inf", now - self._longest_seconds - MARGIN_SECONDS)
                await pipeline.execute()
        self._ended[user] = now

    def covers(self, user: str, issued: float) -> bool:
        """Whether something that was issued to a user at this time is ended. Within a second it counts as earlier."""
        return issued <= self._ended.get(user, float("-inf"))

    async def run(self) -> None:
        """Read what other replicas have ended, until cancelled."""
        tries = backoff.delays()
        while True:
            try:
                await self.read()
            except StoreUnavailable as error:
                log.warning("ended sessions not read", error=str(error))
                await asyncio.sleep(next(tries))
            else:
                tries = backoff.delays()
                await asyncio.sleep(POLL_SECONDS)

    async def read(self) -> None:
        now = self._clock()
        since = max(self._read_until, now - self._longest_seconds) - MARGIN_SECONDS
        with store_errors():
            found = await cast("Any", self._redis.zrangebyscore(self._key, since, "+inf", withscores=True))
        for name, ended in cast("list[tuple[bytes, float]]", found):
            user = name.decode()
            # A time that is still to come is the error of a clock: it stands for when it was read first.
            self._ended[user] = max(ended, self._ended.get(user, ended)) if ended <= now else self._ended.get(user, now)
        self._read_until = now
