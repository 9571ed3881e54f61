"""Logging in: the authenticators are asked in their configured order."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from headrace.errors import BadCredentials, HeadraceError, InvalidRequest, PermissionDenied, Violation
from headrace_auth import metrics
from headrace_auth.api_token_secrets import SECRET_BYTES, SECRET_PREFIX
from headrace_auth.api_tokens import ApiTokens
from headrace_auth.authenticators.base import ChecksPasswords, ChecksTokens, Identity
from headrace_auth.authenticators.realms import Realm, Realms
from headrace_auth.authenticators.registry import API_TOKEN
from headrace_auth.login_queue import LoginQueue
from headrace_auth.model import PASSWORD_BYTES
from headrace_auth.refused_tokens import RefusedTokens
from headrace_auth.throttle import Throttle
from headrace_chassis.identity.caller import Caller

NAME_BYTES = 256
TOKEN_BYTES = SECRET_BYTES
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class LoginMethod:
    """A way to log in, with a password or with a token."""

    method: str
    label: str
    with_password: bool = False


@dataclass(frozen=True, slots=True)
class Login:
    """Turns a credential into a user."""

    realms: Realms
    api_tokens: ApiTokens
    throttle: Throttle
    queue: LoginQueue
    refused: RefusedTokens

    def methods(self) -> Sequence[LoginMethod]:
        """Return the ways to log in, in the order in which they are tried."""
        methods = [LoginMethod(API_TOKEN, "API token")]
        for realm in self.realms:
            if isinstance(realm.authenticator, ChecksPasswords):
                methods.append(LoginMethod(realm.name, realm.label, with_password=True))
            if isinstance(realm.authenticator, ChecksTokens):
                methods.append(LoginMethod(realm.name, realm.label))
        return methods

    async def with_password(self, method: str, username: str, password: str, source: str) -> Caller:
        """Return the user, or raise `BadCredentials` with one message for all causes, or `TooManyRequests`.

        An authenticator that does not know the name passes it on. A wrong password for a known name ends the login.
        """
        _check_length("password.username", username, 1, NAME_BYTES)
        _check_length("password.password", password, 0, PASSWORD_BYTES)
        self._check_method(method, with_password=True)
        with self.queue.place(source):
            await self.throttle.attempt(username, source)
            try:
                caller = await self._check_password(method, username, password)
            except BadCredentials:
                raise BadCredentials("wrong user name or password; your administrator can give you a new one") from None
            await self.throttle.succeeded(username, source)
            return caller

    async def with_token(self, method: str, token: str, source: str) -> Caller:
        """Return the user; raise `BadCredentials`, `TokenExpired`, `TokenRevoked` or `TooManyRequests`.

        API tokens are checked first, so that no other authenticator ever sees one.
        """
        _check_length("token.token", token, 1, TOKEN_BYTES)
        self._check_method(method, with_password=False)
        if method in {"", API_TOKEN}:
            caller = await _counted(API_TOKEN, self.api_tokens.check(token))
            if caller is not None:
                return caller
        return await self.refused.check(method, token, source, lambda: self._check_token(method, token))

    async def _check_token(self, method: str, token: str) -> Caller:
        for realm in self.realms:
            if isinstance(realm.authenticator, ChecksTokens) and method in {"", realm.name}:
                caller = await _counted(realm.name, self._caller(realm, realm.authenticator.check_token(token)))
                if caller is not None:
                    return caller
        raise _unknown(f"the token is not known here; API tokens of headrace start with {SECRET_PREFIX}")

    async def _check_password(self, method: str, username: str, password: str) -> Caller:
        for realm in self.realms:
            if isinstance(realm.authenticator, ChecksPasswords) and method in {"", realm.name}:
                checking = self._caller(realm, realm.authenticator.check_password(username, password))
                if (caller := await _counted(realm.name, checking)) is not None:
                    return caller
        raise _unknown("no authenticator knows the name")

    async def _caller(self, realm: Realm, checking: Awaitable[Identity | None]) -> Caller | None:
        identity = await checking
        return None if identity is None else self.realms.caller(realm, identity)

    def _check_method(self, method: str, *, with_password: bool) -> None:
        fitting = [one.method for one in self.methods() if one.with_password is with_password]
        if method and method not in fitting:
            known = ", ".join(fitting) or "none"
            description = f"{method[:80]!r} does not take this kind of credential; the methods that do: {known}"
            raise InvalidRequest.of(Violation("method", description))
        if not fitting:
            raise InvalidRequest.of(Violation("credential", "no user has a password here: log in with a token"))


async def _counted(method: str, checking: Awaitable[Caller | None]) -> Caller | None:
    try:
        caller = await checking
        if caller is not None and not caller.roles:
            raise PermissionDenied(f"{caller.user} has no role in this deployment: ask the administrator for one")
    except HeadraceError:
        metrics.LOGINS.labels(method, "refused").inc()
        raise
    if caller is not None:
        metrics.LOGINS.labels(method, "ok").inc()
    return caller


def _unknown(message: str) -> BadCredentials:
    metrics.LOGINS.labels(UNKNOWN, "refused").inc()
    return BadCredentials(message)


def _check_length(field: str, value: str, least: int, most: int) -> None:
    if not least <= len(value.encode()) <= most:
        raise InvalidRequest.of(Violation(field, f"must have {least} to {most} bytes, has {len(value.encode())}"))
