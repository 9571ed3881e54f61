"""API tokens: create, list, revoke, and log in with one."""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from google.protobuf.message import Message

from headrace.access import Access, Role, may, role_for
from headrace.errors import (
    ApiTokenNotFound,
    InvalidRequest,
    PermissionDenied,
    TokenExpired,
    Violation,
)
from headrace.resource_names import api_token_name
from headrace.v1.enums import Right
from headrace_auth.api_token_secrets import SECRET_PREFIX, ApiTokenSecrets
from headrace_auth.api_token_store import ApiTokenStore
from headrace_auth.authenticators.realms import Realms
from headrace_auth.ended_sessions import EndedSessions
from headrace_auth.model import ApiToken, roles_of_new_token, roles_of_token
from headrace_chassis.audit.note import about
from headrace_chassis.identity.caller import Caller
from headrace_chassis.paging import make_token, read_token

NOTE_BYTES = 256


@dataclass(frozen=True, slots=True)
class ApiTokens:
    """The API tokens of all users."""

    store: ApiTokenStore
    secrets: ApiTokenSecrets
    realms: Realms
    ended: EndedSessions

    async def create(
        self, caller: Caller, *, note: str, roles: frozenset[str], expires: datetime | None
    ) -> tuple[ApiToken, str]:
        """Return the token and its secret.

        A token ends with the credential that its maker logged in with, or earlier.
        """
        now = datetime.now(UTC)
        _check(note, expires, now, caller.ends)
        token = ApiToken(
            id=secrets.token_hex(8),
            owner=caller.user,
            method=caller.method,
            roles=roles_of_new_token(roles, caller.roles),
            # A list of users has the groups of now.
            groups=() if self.realms.lists_users_of(caller) else caller.groups,
            note=note,
            created=now,
            expires=expires,
        )
        secret = self.secrets.make(token)
        await self.store.save(token, secret)
        about(api_token_name(token.id), token.owner, Role.OWNER)
        return token, secret

    async def page(
        self, request: Message, caller: Caller, *, owner: str, size: int, page_token: str
    ) -> tuple[Sequence[ApiToken], str]:
        """Return a page, and the token of the next one."""
        owner = owner or caller.user
        _note(caller, owner)
        if not may(caller, Right.USER, Access(owner)):
            raise PermissionDenied(f"only admins may list the API tokens of {owner}")
        tokens = await self.store.list(owner)
        start = _start(tokens, read_token(request, page_token, caller=caller.user))
        end = start + size
        next_token = make_token(request, _cursor(tokens[end - 1]), caller=caller.user) if end < len(tokens) else ""
        return tokens[start:end], next_token

    async def revoke(self, caller: Caller, token_id: str) -> None:
        """Revoke a token. The dashboard sessions of its owner end too: they may have come by it."""
        token = await self.store.get(token_id)
        _note(caller, token.owner, api_token_name(token_id))
        if not may(caller, Right.USER, Access(token.owner)):
            raise ApiTokenNotFound(f"there is no API token apiTokens/{token_id} that you may see")
        await self.ended.end(token.owner)
        await self.store.revoke(token)

    async def end_sessions(self, caller: Caller, owner: str) -> None:
        """End the dashboard sessions of a user."""
        owner = owner or caller.user
        _note(caller, owner)
        if not may(caller, Right.USER, Access(owner)):
            raise PermissionDenied(f"only admins may end the dashboard sessions of {owner}")
        await self.ended.end(owner)

    async def check(self, secret: str) -> Caller | None:
        """Return the user that a secret stands for, or None if it is no secret of headrace.

        The authenticator that the user comes from vouches for them: a token never has more roles than its owner has
        now. Raise `BadCredentials`, `TokenExpired` or `TokenRevoked`.
        """
        if self.realms.bootstrap and self.realms.bootstrap.matches(secret):
            return self.realms.bootstrap.caller
        if not secret.startswith(SECRET_PREFIX):
            return None
        token = self.secrets.read(secret) or await self.store.by_digest(secret)
        now = datetime.now(UTC)
        if token.has_expired(now):
            raise TokenExpired("the API token has expired: create another one, or log in another way")
        caller = Caller(token.owner, token.groups, roles_of_token(token), token.method)
        owner = await self.realms.current(caller)
        await self.store.use(token, secret, now)
        ends = token.expires.timestamp() if token.expires else None
        return replace(owner, roles=caller.roles & owner.roles, ends=ends, token=api_token_name(token.id))


def _note(caller: Caller, owner: str, target: str = "") -> None:
    about(target, owner, role_for(caller, Right.USER, Access(owner)))


def _check(note: str, expires: datetime | None, now: datetime, ends: float | None) -> None:
    violations: list[Violation] = []
    if len(note.encode()) > NOTE_BYTES:
        violations.append(Violation("api_token.note", f"is longer than {NOTE_BYTES} bytes"))
    if any(unicodedata.category(character) == "Cc" for character in note):
        violations.append(Violation("api_token.note", "has control characters, which a terminal would obey"))
    if expires is not None and expires <= now:
        violations.append(Violation("api_token.expire_time", f"{expires:%Y-%m-%d %H:%M:%S} UTC is in the past"))
    if ends is not None and (expires is None or expires.timestamp() > ends):
        latest = f"{datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M:%S} UTC"
        violations.append(
            Violation(
                "api_token.expire_time",
                f"must be {latest} at the latest: then the token ends that you logged in with; set an earlier time, or "
                "log in with a password",
            )
        )
    if violations:
        raise InvalidRequest.of(*violations)


def _cursor(token: ApiToken) -> str:
    return f"{token.created.timestamp()!r} {token.id}"


def _start(tokens: Sequence[ApiToken], cursor: str) -> int:
    """Return where the page starts. The token at the cursor may have been revoked since."""
    if not cursor:
        return 0
    created, _, last = cursor.partition(" ")
    try:
        after = (float(created), last)
    except ValueError:
        raise InvalidRequest.of(Violation("page_token", "is not a page token of this service")) from None
    return sum((token.created.timestamp(), token.id) >= after for token in tokens)
