"""Records of API tokens. Of a secret only its SHA-256 is stored.

A token outlives the loss of either: its record leads from the SHA-256 of a secret that no deployment key opens any
more, and a record that the store has lost is written again from what the secret carries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import redis.asyncio

from headrace.errors import ApiTokenNotFound, BadCredentials, InvalidRequest, TokenRevoked
from headrace_auth import keys
from headrace_auth.model import ApiToken
from headrace_chassis.redis import lua
from headrace_chassis.redis.connection import store_errors
from headrace_chassis.redis.keys import Prefix

MAX_TOKENS = 1000
# Revoked ids of an owner. Beyond, the time of the oldest stands for them.
MAX_REVOKED = 1000
# For this long an old secret is refused with the reason: it has expired, or it was revoked.
EXPIRED_KEPT = timedelta(days=7)
REVOKED_KEPT = timedelta(days=30)
USE_STEP = timedelta(minutes=1)
REVOKED = b"revoked"

_save = lua.load("headrace_auth", "api_token_save")
_revoke = lua.load("headrace_auth", "api_token_revoke", when_full=True)
_use = lua.load("headrace_auth", "api_token_use", when_full=True)


def digest_of(secret: str) -> str:
    """Return what is stored of a secret. 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ApiTokenStore:
    """API tokens in Redis."""

    redis: redis.asyncio.Redis
    prefix: Prefix

    async def save(self, token: ApiToken, secret: str) -> None:
        digest = digest_of(secret)
        arguments = [*_index(token), MAX_TOKENS, *_fields(token, digest)]
        if await _save(self.redis, self._keys(token, digest)[:3], arguments):
            return
        await self.list(token.owner)  # removes those that have expired from the count
        if not await _save(self.redis, self._keys(token, digest)[:3], arguments):
            raise InvalidRequest(f"{token.owner} has {MAX_TOKENS} API tokens, which is the maximum: delete some first")

    async def use(self, token: ApiToken, secret: str, now: datetime) -> None:
        """Record a use, to the minute; raise `TokenRevoked`. A record that the store has lost is written again."""
        digest = digest_of(secret)
        arguments = [*_index(token), _seconds(now), USE_STEP.total_seconds(), *_fields(token, digest)]
        if not await _use(self.redis, self._keys(token, digest), arguments):
            raise _revoked()

    async def by_digest(self, secret: str) -> ApiToken:
        """Return the token that the store knows by this secret; raise BadCredentials or TokenRevoked."""
        with store_errors():
            found = await self.redis.get(keys.api_token_of(self.prefix, digest_of(secret)))
        token_id = cast("bytes | None", found)
        if token_id == REVOKED:
            raise _revoked()
        token = await self._get(token_id.decode()) if token_id else None
        if token is None:
            raise BadCredentials("the API token is not known here: check that it is complete and of this deployment")
        return token

    async def get(self, token_id: str) -> ApiToken:
        if (token := await self._get(token_id)) is None:
            raise ApiTokenNotFound(f"there is no API token apiTokens/{token_id} that you may see")
        return token

    async def list(self, owner: str) -> Sequence[ApiToken]:
        """Return all tokens of an owner, newest first."""
        index = keys.api_tokens(self.prefix, owner)
        with store_errors():
            ids = [found.decode() for found in cast("list[bytes]", await self.redis.zrevrange(index, 0, -1))]
            pipeline = self.redis.pipeline(transaction=False)
            for token_id in ids:
                pipeline.hgetall(keys.api_token(self.prefix, token_id))
            records = cast("list[dict[bytes, bytes]]", await pipeline.execute())
            gone = [token_id for token_id, record in zip(ids, records, strict=True) if not record]
            if gone:
                await self.redis.zrem(index, *gone)
        return [_decode(token_id, record) for token_id, record in zip(ids, records, strict=True) if record]

    async def revoke(self, token: ApiToken) -> None:
        with store_errors():
            digest = await cast("Any", self.redis.hget(keys.api_token(self.prefix, token.id), "digest"))
        if digest is not None:
            token_id, created, _ = _index(token)
            arguments = [token_id, created, MAX_REVOKED, int(REVOKED_KEPT.total_seconds())]
            await _revoke(self.redis, self._keys(token, digest.decode()), arguments)

    async def _get(self, token_id: str) -> ApiToken | None:
        with store_errors():
            record = await cast("Any", self.redis.hgetall(keys.api_token(self.prefix, token_id)))
        return _decode(token_id, record) if record else None

    def _keys(self, token: ApiToken, digest: str) -> list[str]:
        return [
            keys.api_token(self.prefix, token.id),
            keys.api_tokens(self.prefix, token.owner),
            keys.api_token_of(self.prefix, digest),
            keys.revoked_api_tokens(self.prefix, token.owner),
        ]


def _revoked() -> TokenRevoked:
    return TokenRevoked("the API token was revoked: create another one, or log in another way")


def _index(token: ApiToken) -> tuple[str, str, int]:
    """Return id, creation time, and the time to remove the record; 0 for never."""
    keep_until = int((token.expires + EXPIRED_KEPT).timestamp()) if token.expires else 0
    return token.id, _seconds(token.created), keep_until


def _seconds(moment: datetime | None) -> str:
    return repr(moment.timestamp()) if moment else ""


def _moment(text: bytes) -> datetime | None:
    return datetime.fromtimestamp(float(text), UTC) if text else None


def _fields(token: ApiToken, digest: str) -> list[str]:
    """Return fields and values of a record."""
    fields = {
        "digest": digest,
        "owner": token.owner,
        "method": token.method,
        "roles": json.dumps(sorted(token.roles)),
        "groups": json.dumps(token.groups),
        "note": token.note,
        "created": _seconds(token.created),
        "expires": _seconds(token.expires),
    }
    return [part for pair in fields.items() for part in pair]


def _decode(token_id: str, record: Mapping[bytes, bytes]) -> ApiToken:
    created = _moment(record[b"created"])
    assert created is not None
    return ApiToken(
        id=token_id,
        owner=record[b"owner"].decode(),
        method=record[b"method"].decode(),
        roles=frozenset(json.loads(record[b"roles"])),
        groups=tuple(json.loads(record[b"groups"])),
        note=record[b"note"].decode(),
        created=created,
        expires=_moment(record[b"expires"]),
        last_used=_moment(record.get(b"used", b"")),
    )
