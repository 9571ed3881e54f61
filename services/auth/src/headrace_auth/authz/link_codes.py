"""Codes of dashboard links: short, good for one browser and for minutes.

A notebook is saved with the links that it shows. Redis keeps the link's signed token under the hash of the code.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import cast

import redis.asyncio

from headrace.errors import TokenExpired, TokenRevoked
from headrace_auth import keys
from headrace_chassis.redis import lua
from headrace_chassis.redis.keys import Prefix

MAX_LINKS = 1000
# The browser that opened a link may repeat it: the answer to the first of two clicks, with the cookie, may be lost.
REPEAT_SECONDS = 10
_RANDOM_BYTES = 18
_CODE = re.compile(r"[\w-]{24}")

_save = lua.load("headrace_auth", "link_save")
_exchange = lua.load("headrace_auth", "link_exchange")


class LinkUsed(TokenRevoked):
    """Another browser has opened the link."""


@dataclass(frozen=True, slots=True)
class LinkCodes:
    """Codes, in Redis: all replicas exchange them.

    Parameters
    ----------
    link_seconds
        Longest life of a link.
    """

    redis: redis.asyncio.Redis
    prefix: Prefix
    link_seconds: int

    async def save(self, token: str, user: str, now: float, expires: float) -> str:
        """Return a code that is exchanged for a link's token."""
        code = secrets.token_urlsafe(_RANDOM_BYTES)
        names = [keys.dashboard_link(self.prefix, _digest(code)), keys.dashboard_links(self.prefix, user)]
        # Redis may keep it longer, as after its clock was set back: the token has its own expiry.
        seconds = max(1, int(expires - now))
        await _save(self.redis, names, [token, seconds, now, expires, MAX_LINKS, max(seconds, self.link_seconds)])
        return code

    async def exchange(self, code: str, browser: str) -> str:
        """Return the token; raise `LinkUsed` or `TokenExpired`."""
        name = keys.dashboard_link(self.prefix, _digest(code))
        found = await _exchange(self.redis, [name], [browser, REPEAT_SECONDS]) if _CODE.fullmatch(code) else None
        if found is None:
            raise TokenExpired("the link is not known here any more")
        if found == 1:
            raise LinkUsed("the link was opened before")
        return cast("bytes", found).decode()


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
