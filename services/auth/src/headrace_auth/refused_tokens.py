"""Bounds what refused tokens cost: an authenticator asks another service about each, such as an API server."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256

from cachetools import TTLCache

from headrace.errors import BadCredentials, TooManyRequests
from headrace_auth import metrics
from headrace_auth.login_queue import LoginQueue
from headrace_chassis.identity.caller import Caller
from headrace_chassis.interceptors.limit import Buckets

REFUSED_SECONDS = 10.0
"""Time for which a refusal is repeated without asking. A token that is made good meanwhile works after it."""

PER_SECOND, BURST = 1.0, 30
AT_ONCE = 64
_ACCEPTED_SECONDS = 12 * 3600.0
_KEPT = 20_000


class RefusedTokens:
    """Counts the refused tokens of each source, in this replica.

    A source that sends many may send no other new ones for a while. Tokens that were accepted before are always
    checked, so that nobody is locked out who shares the source's address and is logged in already.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._refused: TTLCache[bytes, str] = TTLCache(_KEPT, REFUSED_SECONDS, clock)
        self._accepted: TTLCache[bytes, bool] = TTLCache(_KEPT, _ACCEPTED_SECONDS, clock)
        self._sources = Buckets(PER_SECOND, BURST, clock)
        self._blocked: TTLCache[str, float] = TTLCache(_KEPT, 1 / PER_SECOND, clock)
        self._clock = clock
        self._checking = LoginQueue(math.inf, AT_ONCE, "many tokens from the same address wait for their check")

    async def check(self, method: str, token: str, source: str, ask: Callable[[], Awaitable[Caller]]) -> Caller:
        """Return what `ask` does; raise `BadCredentials` or `TooManyRequests` without asking where that is enough."""
        key = sha256(f"{method}\0{token}".encode()).digest()
        if (reason := self._refused.get(key)) is not None:
            raise BadCredentials(reason)
        try:
            if key in self._accepted:
                return await ask()
            self._check_source(source)
            with self._checking.place(source):
                caller = await ask()
        except BadCredentials as error:
            self._accepted.pop(key, None)
            self._refused[key] = error.message
            if wait := self._sources.take(source):
                self._blocked[source] = self._clock() + wait
            raise
        self._accepted[key] = True
        return caller

    def _check_source(self, source: str) -> None:
        if (until := self._blocked.get(source)) is not None:
            metrics.LOGINS_BUSY.inc()
            raise TooManyRequests.of(
                f"many tokens from {source} were refused, so no new one is checked now: see that yours is valid",
                until - self._clock(),
            )
