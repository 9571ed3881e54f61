"""Limits the attempts to log in with a password."""

from __future__ import annotations

from dataclasses import dataclass

import redis.asyncio

from headrace.errors import BadCredentials
from headrace_auth import keys
from headrace_chassis.redis import lua
from headrace_chassis.redis.connection import store_errors
from headrace_chassis.redis.keys import Prefix

ATTEMPTS = 10
WINDOW_SECONDS = 60

_attempt = lua.load("headrace_auth", "attempt")


@dataclass(frozen=True, slots=True)
class Throttle:
    """Counts the attempts per user name, over all replicas."""

    redis: redis.asyncio.Redis
    prefix: Prefix

    async def attempt(self, username: str) -> None:
        """Count an attempt; raise BadCredentials, whatever the password, after too many."""
        attempts, seconds = await _attempt(self.redis, [keys.attempts(self.prefix, username)], [WINDOW_SECONDS])
        if attempts > ATTEMPTS:
            raise BadCredentials(
                f"too many failed logins of this user: wait {seconds} s", {"retry_after_seconds": str(seconds)}
            )

    async def reset(self, username: str) -> None:
        """Discard the attempts after a successful login."""
        with store_errors():
            await self.redis.delete(keys.attempts(self.prefix, username))
