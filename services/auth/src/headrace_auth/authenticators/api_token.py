"""API tokens: long-lived secrets that headrace itself issued, and the one it was started with."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from headrace.errors import BadCredentials, TokenExpired, TokenRevoked
from headrace_auth.api_token_store import ApiTokenStore, digest_of
from headrace_auth.authenticators.base import Authenticator, KnowsUsers, Parts
from headrace_auth.model import ApiToken, all_roles
from headrace_chassis.identity.caller import Caller

SECRET_PREFIX = "hr_"  # noqa: S105 what secrets begin with, so that scanners find lost ones


@dataclass(frozen=True)
class BootstrapToken:
    """The token that a deployment is started with; it needs no store."""

    user: str
    roles: frozenset[str]
    digest: str = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> BootstrapToken:
        try:
            content = cast("dict[str, object]", json.loads(path.read_text(encoding="utf-8")))
            roles = all_roles(map(str, cast("list[object]", content["roles"])))
            return cls(str(content["user"]), roles, digest_of(str(content["secret"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'the bootstrap token file {path} must be JSON {{"user", "roles", "secret"}}: {error!r}'
            ) from error


@dataclass(frozen=True)
class ApiTokens:
    """Checks API tokens."""

    store: ApiTokenStore
    bootstrap: BootstrapToken | None
    authenticators: Mapping[str, Authenticator]
    method: str = "api-token"

    async def check_token(self, token: str) -> Caller:
        if self.bootstrap and hmac.compare_digest(digest_of(token), self.bootstrap.digest):
            return Caller(self.bootstrap.user, (), self.bootstrap.roles, self.method)
        if not token.startswith(SECRET_PREFIX):
            raise BadCredentials(f"this is no API token of headrace: those begin with {SECRET_PREFIX}")
        found = await self.store.by_secret(token)
        now = datetime.now(UTC)
        if found.has_expired(now):
            raise TokenExpired("this API token has run out: make another one, or log in with a password")
        caller = await self._as_of_now(found)
        await self.store.used(found, now)
        return caller

    async def _as_of_now(self, token: ApiToken) -> Caller:
        """A token never has more than its owner has today, wherever somebody keeps a list of owners."""
        caller = Caller(token.owner, token.groups, all_roles(token.roles), self.method)
        authority = self.authenticators.get(token.vouched_by)
        if not isinstance(authority, KnowsUsers):
            return caller
        if (owner := await authority.find_user(token.owner)) is None:
            raise TokenRevoked(f"this API token's owner, {token.owner}, is no longer a user of this deployment")
        return replace(caller, groups=owner.groups, roles=caller.roles & owner.roles)


async def vouched_by(caller: Caller, authenticators: Mapping[str, Authenticator]) -> str:
    """Returns the authenticator to ask about a token's owner later; "" if none keeps a list of them."""
    for method, authority in authenticators.items():
        if isinstance(authority, KnowsUsers) and await authority.find_user(caller.user) is not None:
            return method
    return ""


def build(parts: Parts) -> ApiTokens:
    """Builds it; named as an entry point in this distribution's pyproject.toml."""
    file = parts.settings.bootstrap_token_file
    return ApiTokens(parts.api_tokens, BootstrapToken.read(file) if file else None, parts.authenticators)
