"""What auth signs: access tokens, dashboard links and browser sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import jwt

from headrace.errors import TokenExpired, TokenInvalid
from headrace_auth.signing_keys import SigningKeys
from headrace_chassis.identity.caller import ADMIN, Caller
from headrace_chassis.identity.tokens import ALGORITHM, AUDIENCE, read_claims

LINK = "dashboard"
SESSION = "dashboard-session"


@dataclass(frozen=True, slots=True)
class DashboardGrant:
    """A user may see the dashboard of one cluster, if it is theirs or they are an admin."""

    user: str
    cluster: str
    is_admin: bool


class UnknownKey(TokenInvalid):
    """Signed with a key that is not at hand; another replica may have made it a moment ago."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs and reads; reading needs no I/O and may be done in any thread."""

    keys: SigningKeys
    deployment: str
    clock: Callable[[], float] = time.time

    def access_token(self, caller: Caller, seconds: float) -> tuple[str, float]:
        """Returns a token and when it runs out."""
        claims = {"groups": list(caller.groups), "roles": sorted(caller.roles), "method": caller.method}
        return self._sign(AUDIENCE, caller.user, seconds, claims)

    def dashboard_token(self, audience: str, grant: DashboardGrant, seconds: float) -> tuple[str, float]:
        """Signs a link or a session."""
        return self._sign(audience, grant.user, seconds, {"cluster": grant.cluster, ADMIN: grant.is_admin})

    def read_access_token(self, token: str) -> Caller:
        return read_claims(self._read(token, AUDIENCE))

    def read_dashboard_token(self, token: str, audience: str) -> DashboardGrant:
        claims = self._read(token, audience)
        return DashboardGrant(str(claims["sub"]), str(claims.get("cluster", "")), claims.get(ADMIN) is True)

    def _sign(self, audience: str, user: str, seconds: float, claims: Mapping[str, object]) -> tuple[str, float]:
        key = self.keys.newest()
        now = self.clock()
        expires = float(int(now + seconds))
        content = {"iss": self.deployment, "aud": audience, "sub": user, "iat": int(now), "exp": int(expires), **claims}
        return jwt.encode(content, key.private_key, ALGORITHM, headers={"kid": key.key_id}), expires

    def _read(self, token: str, audience: str) -> Mapping[str, object]:
        try:
            key_id = str(jwt.get_unverified_header(token).get("kid", ""))
            if (key := self.keys.find(key_id)) is None:
                raise UnknownKey("the token was signed with a key that is not this deployment's")
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
            raise TokenInvalid("the token is not one that this deployment has signed") from None
        if float(str(claims["exp"])) <= self.clock():
            raise TokenExpired("the token has run out")
        return claims
