"""Signed tokens: access tokens, dashboard links and browser sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import jwt
from cachetools import TLRUCache

from headrace.errors import TokenExpired, TokenInvalid
from headrace_auth.signing_keys import SigningKeys
from headrace_chassis.identity.caller import Caller
from headrace_chassis.identity.tokens import ALGORITHM, AUDIENCE, MAX_CACHED_TOKENS, read_claims

LINK = "dashboard"
SESSION = "dashboard-session"

Claims = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class DashboardGrant:
    """A user who came by a link to the dashboard of one cluster.

    `user` has no roles: links and sessions live long. Its groups are those that the cluster was shared with when the
    link was created, for authenticators that keep no list of users. `issued` is when the link was signed, of a session
    too: what ends a link ends what it has opened, or is about to open.
    """

    cluster: str
    user: Caller
    issued: float = 0.0


class UnknownKey(TokenInvalid):
    """Signed with a key that was not read yet: another replica may have created it a moment ago."""


@dataclass(slots=True)
class Signer:
    """Signs and reads tokens. Reading needs no I/O; a signature is verified once and cached until the token expires."""

    keys: SigningKeys
    deployment: str
    clock: Callable[[], float] = time.time
    _verified: TLRUCache[tuple[str, str], Claims] = field(init=False)

    def __post_init__(self) -> None:
        self._verified = TLRUCache(MAX_CACHED_TOKENS, _expiry, self.clock)

    def access_token(self, caller: Caller, seconds: float) -> tuple[str, float]:
        """Return a token, and the time at which it expires."""
        return self._sign(AUDIENCE, caller, seconds, {"roles": sorted(caller.roles)})

    def dashboard_token(self, audience: str, grant: DashboardGrant, seconds: float) -> tuple[str, float]:
        """Return a link's or a session's token, and the time at which it expires."""
        issued = {"iat": int(grant.issued)} if grant.issued else {}
        return self._sign(audience, grant.user, seconds, {"cluster": grant.cluster, **issued})

    def read_access_token(self, token: str) -> Caller:
        return read_claims(self._read(token, AUDIENCE))

    def read_dashboard_token(self, token: str, audience: str) -> DashboardGrant:
        claims = self._read(token, audience)
        user, issued = read_claims({**claims, "roles": []}), float(str(claims.get("iat", 0)))
        return DashboardGrant(str(claims.get("cluster", "")), user, issued)

    def _sign(self, audience: str, caller: Caller, seconds: float, claims: Claims) -> tuple[str, float]:
        key = self.keys.newest()
        now = self.clock()
        expires = int(now + seconds if caller.ends is None else min(now + seconds, caller.ends))
        content = {
            "iss": self.deployment,
            "aud": audience,
            "sub": caller.user,
            "iat": int(now),
            "exp": expires,
            "groups": list(caller.groups),
            "method": caller.method,
            "token": caller.token,
            **({} if caller.ends is None else {"ends": caller.ends}),
            **claims,
        }
        return jwt.encode(content, key.private_key, ALGORITHM, headers={"kid": key.key_id}), float(expires)

    def _read(self, token: str, audience: str) -> Claims:
        if (claims := self._verified.get((token, audience))) is None:
            claims = self._verified[token, audience] = self._verify(token, audience)
        return claims

    def _verify(self, token: str, audience: str) -> Claims:
        try:
            key_id = str(jwt.get_unverified_header(token).get("kid", ""))
            if (key := self.keys.find(key_id)) is None:
                raise UnknownKey("the token is signed with a key that is not this deployment's")
            claims = cast(
                "dict[str, object]",
                jwt.decode(
                    token,
                    key.public,
                    algorithms=[ALGORITHM],
                    audience=audience,
                    issuer=self.deployment,
                    options={"require": ["exp", "sub"], "verify_exp": False, "verify_iat": False},
                ),
            )
        except jwt.InvalidTokenError:
            raise TokenInvalid("this deployment did not sign the token") from None
        if float(str(claims["exp"])) <= self.clock():
            raise TokenExpired("the token has expired")
        return claims


def _expiry(_key: tuple[str, str], claims: Claims, _now: float) -> float:
    return float(str(claims["exp"]))
