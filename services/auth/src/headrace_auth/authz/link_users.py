"""Rights of users who come by a link or a session: neither names roles."""

from __future__ import annotations

import time
from collections.abc import Callable

from cachetools import TTLCache

from headrace.access import Access, visits_through
from headrace.errors import StoreUnavailable
from headrace_auth.authenticators.realms import Realms
from headrace_auth.authz.credentials import CACHE_SECONDS, MAX_CACHED, lookup
from headrace_chassis.identity.caller import Caller


class LinkUsers:
    """Decides by the user of now, as their authenticator knows them.

    While that does not answer, owners and users that a share names may still open the dashboard.
    """

    def __init__(self, realms: Realms, clock: Callable[[], float] = time.time) -> None:
        self._realms = realms
        self._clock = clock
        self._cached: TTLCache[Caller, Caller] = TTLCache(MAX_CACHED, CACHE_SECONDS, time.monotonic)

    async def visits_through(self, user: Caller, access: Access) -> list[str]:
        """Return the members through whom a user may open a dashboard; none if the user may not.

        Raise `TokenRevoked` if there is no such user any more.
        """
        now = self._clock()
        try:
            current = await self._current(user)
        except StoreUnavailable:
            named = Caller(user.user)
            if not visits_through(named, access, now=now):
                raise
            current = self._cached[user] = named
        return visits_through(current, access, now=now)

    async def _current(self, user: Caller) -> Caller:
        if (cached := self._cached.get(user)) is not None:
            return cached
        async with lookup():
            current = self._cached[user] = await self._realms.current(user)
        return current
