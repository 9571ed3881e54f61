"""What users do with their API tokens."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace.errors import ApiTokenNotFound, InvalidRequest, PermissionDenied, Violation
from headrace_auth.api_token_store import ApiTokenStore
from headrace_auth.authenticators.api_token import SECRET_PREFIX, vouched_by
from headrace_auth.authenticators.base import Authenticator
from headrace_auth.model import ApiToken, roles_of_new_token
from headrace_chassis.identity.caller import Caller

SECRET_BYTES = 32
NOTE_BYTES = 256


@dataclass(frozen=True, slots=True)
class ApiTokens:
    """Makes, lists and revokes."""

    store: ApiTokenStore
    authenticators: Mapping[str, Authenticator]

    async def create(
        self, caller: Caller, *, note: str, roles: frozenset[str], expires: datetime | None
    ) -> tuple[ApiToken, str]:
        """Returns the token and its secret."""
        now = datetime.now(UTC)
        _check(note, expires, now)
        token = ApiToken(
            id=secrets.token_hex(8),
            owner=caller.user,
            roles=roles_of_new_token(roles, caller.roles),
            groups=caller.groups,
            note=note,
            vouched_by=await vouched_by(caller, self.authenticators),
            created=now,
            expires=expires,
        )
        secret = SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        await self.store.save(token, secret)
        return token, secret

    async def page(self, caller: Caller, *, owner: str, size: int, page_token: str) -> tuple[Sequence[ApiToken], str]:
        """Returns a page and the token of the next one."""
        owner = owner or caller.user
        if owner != caller.user and not caller.is_admin:
            raise PermissionDenied("only admins may list the API tokens of somebody else")
        tokens = await self.store.list(owner)
        begin = _position(tokens, owner, page_token)
        end = begin + size
        return tokens[begin:end], _page_token(owner, tokens[end - 1]) if end < len(tokens) else ""

    async def revoke(self, caller: Caller, token_id: str) -> None:
        token = await self.store.get(token_id)
        if token.owner != caller.user and not caller.is_admin:
            raise ApiTokenNotFound(f"there is no API token apiTokens/{token_id} that you may see")
        await self.store.revoke(token)


def _check(note: str, expires: datetime | None, now: datetime) -> None:
    violations: list[Violation] = []
    if len(note.encode()) > NOTE_BYTES:
        violations.append(Violation("api_token.note", f"is longer than {NOTE_BYTES} bytes"))
    if expires is not None and expires <= now:
        violations.append(Violation("api_token.expire_time", f"{expires:%Y-%m-%d %H:%M:%S} UTC is over already"))
    if violations:
        raise InvalidRequest.of(*violations)


def _owner_mark(owner: str) -> str:
    return hashlib.sha256(owner.encode()).hexdigest()[:8]


def _page_token(owner: str, last: ApiToken) -> str:
    return base64.urlsafe_b64encode(f"{_owner_mark(owner)}:{last.created.timestamp()!r}:{last.id}".encode()).decode()


def _position(tokens: Sequence[ApiToken], owner: str, page_token: str) -> int:
    """Returns where the page begins; the last token of the page before may have been revoked meanwhile."""
    if not page_token:
        return 0
    try:
        mark, created, last = base64.urlsafe_b64decode(page_token.encode()).decode().split(":")
        after = (float(created), last)
    except ValueError:
        mark, after = "", (0.0, "")
    if mark != _owner_mark(owner):
        raise InvalidRequest.of(Violation("page_token", "is not from an answer to a request with the same owner"))
    return sum((token.created.timestamp(), token.id) >= after for token in tokens)
