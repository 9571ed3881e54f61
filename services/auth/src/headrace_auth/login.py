"""Logging in: a credential goes to the authenticators that understand it."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass

from headrace.errors import HeadraceError, InvalidRequest, PermissionDenied, Violation
from headrace_auth import metrics
from headrace_auth.authenticators.base import Authenticator, ChecksPasswords, ChecksTokens
from headrace_auth.throttle import Throttle
from headrace_chassis.identity.caller import Caller

DEFAULT_TOKEN_METHOD = "api-token"  # noqa: S105 the name of an authenticator
NAME_BYTES = 256
PASSWORD_BYTES = 1024
TOKEN_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Login:
    """Turns a credential into a user."""

    authenticators: Mapping[str, Authenticator]
    throttle: Throttle

    async def with_password(self, username: str, password: str) -> Caller:
        _check_length("password.username", username, 1, NAME_BYTES)
        _check_length("password.password", password, 0, PASSWORD_BYTES)
        for method, authority in self.authenticators.items():
            if isinstance(authority, ChecksPasswords):
                await self.throttle.attempt(username)
                caller = await _counted(method, authority.check_password(username, password))
                await self.throttle.succeeded(username)
                return caller
        raise InvalidRequest.of(
            Violation("password", "this deployment has no users with passwords: log in with an API token")
        )

    async def with_token(self, method: str, token: str) -> Caller:
        _check_length("token.token", token, 1, TOKEN_BYTES)
        authority = self.authenticators.get(method or DEFAULT_TOKEN_METHOD)
        if not isinstance(authority, ChecksTokens):
            known = sorted(name for name, one in self.authenticators.items() if isinstance(one, ChecksTokens))
            raise InvalidRequest.of(Violation("token.method", f"{method[:80]!r} is none of {', '.join(known)}"))
        return await _counted(authority.method, authority.check_token(token))


async def _counted(method: str, checking: Awaitable[Caller]) -> Caller:
    try:
        caller = await checking
    except HeadraceError:
        metrics.LOGINS.labels(method, "refused").inc()
        raise
    if not caller.roles:
        metrics.LOGINS.labels(method, "refused").inc()
        raise PermissionDenied(f"{caller.user} has no role here: ask the administrator")
    metrics.LOGINS.labels(method, "ok").inc()
    return caller


def _check_length(field: str, value: str, least: int, most: int) -> None:
    if not least <= len(value.encode()) <= most:
        raise InvalidRequest.of(Violation(field, f"must have {least} to {most} bytes, has {len(value.encode())}"))
