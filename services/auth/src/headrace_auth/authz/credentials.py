"""The credentials that requests for dashboards carry."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from cachetools import TTLCache

from headrace.errors import BadCredentials, StoreUnavailable, TokenRevoked
from headrace_auth.api_tokens import ApiTokens
from headrace_auth.authz.link_codes import LinkCodes
from headrace_auth.ended_sessions import EndedSessions
from headrace_auth.signer import LINK, SESSION, DashboardGrant, Signer, UnknownKey
from headrace_chassis.identity.caller import Caller

T = TypeVar("T")

LOOKUP_SECONDS = 2.0
# After this time a removed user is noticed.
CACHE_SECONDS = 30.0
# After this time a revoked API token is noticed.
API_TOKEN_CACHE_SECONDS = 5.0
MAX_CACHED = 10_000


class Credentials:
    """Reads signed tokens from memory, and looks API tokens and codes of links up in bounded time."""

    def __init__(self, signer: Signer, api_tokens: ApiTokens, codes: LinkCodes, ended: EndedSessions) -> None:
        self._signer = signer
        self._api_tokens = api_tokens
        self._codes = codes
        self._ended = ended
        self._cached: TTLCache[str, Caller] = TTLCache(MAX_CACHED, API_TOKEN_CACHE_SECONDS, time.monotonic)

    async def link(self, code: str, browser: str) -> DashboardGrant:
        """Return what a link grants to the browser that opens it; raise `LinkUsed` if that is the second one."""
        async with lookup():
            token = await self._codes.exchange(code, browser)
        return await self._grant(token, LINK)

    async def session(self, token: str) -> DashboardGrant:
        """Return what a session grants."""
        return await self._grant(token, SESSION)

    async def _grant(self, token: str, audience: str) -> DashboardGrant:
        grant = await self._with_keys(lambda: self._signer.read_dashboard_token(token, audience))
        if not self._ended.is_known:  # this replica has just started
            async with lookup():
                await self._ended.read()
        if self._ended.covers(grant.user.user, grant.issued):
            raise TokenRevoked("the sessions of this user were ended")
        return grant

    async def bearer(self, token: str) -> Caller:
        """Return the user of an access token or an API token."""
        if token.count(".") == 2:  # a JWT
            return await self._with_keys(lambda: self._signer.read_access_token(token))
        if (cached := self._cached.get(token)) is not None:
            return cached
        async with lookup():
            caller = await self._api_tokens.check(token)
        if caller is None:
            raise BadCredentials("the token is not known here")
        self._cached[token] = caller
        return caller

    async def _with_keys(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except UnknownKey:
            async with lookup():
                await self._signer.keys.refresh()
            return read()


@asynccontextmanager
async def lookup() -> AsyncGenerator[None]:
    """Bound a look-up: a request for a dashboard must not wait long for something that is away."""
    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            yield
    except TimeoutError:
        raise StoreUnavailable("the sign-in could not be checked in time; try again in a moment") from None
