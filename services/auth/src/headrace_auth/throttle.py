"""Limits the attempts to log in with a password."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import redis.asyncio

from headrace.errors import BadCredentials
from headrace_auth import keys
from headrace_chassis.redis import lua
from headrace_chassis.redis.connection import store_errors
from headrace_chassis.redis.keys import Prefix

WINDOW_SECONDS = 60
ATTEMPTS = 10
# As one user name, from all sources together that have not logged in as it before.
ATTEMPTS_OF_STRANGERS = 100
KNOWN_SECONDS = 30 * 86_400

_attempt = lua.load("headrace_auth", "attempt", when_full=True)


@dataclass(frozen=True, slots=True)
class Throttle:
    """Counts the attempts per user name and source, over all replicas.

    Strangers can use up the attempts of a name for their own source and for other strangers. A source from which the
    user has logged in before has attempts of its own, which nobody else can use up.
    """

    redis: redis.asyncio.Redis
    prefix: Prefix

    async def attempt(self, username: str, source: str) -> None:
        """Count an attempt; raise BadCredentials, whatever the password, after too many."""
        name = _counted_as(username)
        counters = [
            keys.attempts(self.prefix, name, source),
            keys.attempts(self.prefix, name),
            keys.known_source(self.prefix, name, source),
        ]
        if seconds := await _attempt(self.redis, counters, [WINDOW_SECONDS, ATTEMPTS, ATTEMPTS_OF_STRANGERS]):
            raise BadCredentials(
                f"too many failed logins of this user: wait {seconds} s", {"retry_after_seconds": str(seconds)}
            )

    async def succeeded(self, username: str, source: str) -> None:
        """Discard the attempts of the source, and remember it as one of the user's."""
        name = _counted_as(username)
        with store_errors():
            async with self.redis.pipeline(transaction=False) as pipeline:
                pipeline.delete(keys.attempts(self.prefix, name, source))
                pipeline.set(keys.known_source(self.prefix, name, source), b"", ex=KNOWN_SECONDS)
                await pipeline.execute()


def _counted_as(username: str) -> str:
    """Return one spelling for names that an authenticator may take for one."""
    return unicodedata.normalize("NFKC", username).casefold().strip()
