"""Access tokens: every service verifies them itself, with the keys that auth publishes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import grpc
import jwt
from cachetools import TLRUCache

from headrace import backoff
from headrace.errors import StoreUnavailable, TokenExpired, TokenInvalid
from headrace.v1 import auth_service_pb2, auth_service_pb2_grpc
from headrace_chassis.identity.caller import Caller
from headrace_chassis.logs import get_logger
from headrace_chassis.metrics import KEY_REFRESH_FAILURES

if TYPE_CHECKING:
    from headrace.v1.auth_service_pb2_grpc import AuthServiceAsyncStub

ALGORITHM = "ES256"
AUDIENCE = "headrace"
LEEWAY_SECONDS = 5
REFRESH_SECONDS = 180.0
# A token with an unknown key id causes a read from auth, at most this often.
MIN_REFRESH_SECONDS = 1.0
KEY_READ_SECONDS = 3.0
MAX_CACHED_TOKENS = 20_000

log = get_logger()
Keys = Mapping[str, jwt.PyJWK]
KeySource = Callable[[], Awaitable[Keys]]


def parse_keys(response: auth_service_pb2.ListSigningKeysResponse) -> Keys:
    """Return the keys of an answer of auth by their id."""
    return {key.key_id: jwt.PyJWK(json.loads(key.jwk_json), ALGORITHM) for key in response.signing_keys}


def keys_from_auth(channel: grpc.aio.Channel) -> KeySource:
    """Return a source that calls AuthService.ListSigningKeys."""
    stub = cast("AuthServiceAsyncStub", auth_service_pb2_grpc.AuthServiceStub(channel))

    async def read() -> Keys:
        request = auth_service_pb2.ListSigningKeysRequest()
        return parse_keys(await stub.ListSigningKeys(request, timeout=KEY_READ_SECONDS))

    return read


async def no_keys() -> Keys:
    """Source of a service that no user calls."""
    return {}


def read_claims(claims: Mapping[str, object]) -> Caller:
    """Return the caller that the claims of a verified token name."""
    groups, roles, ends = claims.get("groups", ()), claims.get("roles", ()), claims.get("ends")
    return Caller(
        user=str(claims["sub"]),
        groups=tuple(map(str, cast("list[object]", groups))),
        roles=frozenset(map(str, cast("list[object]", roles))),
        method=str(claims.get("method", "")),
        ends=None if ends is None else float(str(ends)),
        token=str(claims.get("token", "")),
    )


@dataclass(slots=True)
class TokenVerifier:
    """Verifies access tokens. A token's signature is verified once and cached until the token expires."""

    source: KeySource
    deployment: str
    clock: Callable[[], float] = time.time
    _keys: Keys = field(default_factory=dict[str, jwt.PyJWK], init=False)
    _verified: TLRUCache[str, tuple[Caller, float]] = field(init=False)
    _refreshed: float = field(default=float("-inf"), init=False)
    _source_failed: bool = field(default=False, init=False)
    _refreshing: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def __post_init__(self) -> None:
        self._verified = TLRUCache(MAX_CACHED_TOKENS, _expiry, self.clock)

    async def verify(self, token: str) -> Caller:
        """Return the user that the token stands for."""
        if (cached := self._verified.get(token)) is not None:
            return cached[0]
        verified = self._verified[token] = await self._verify(token)
        return verified[0]

    async def run(self) -> None:
        """Keep the keys fresh until cancelled. While auth is away the last ones stay in use."""
        tries = backoff.delays()
        while True:
            async with self._refreshing:  # an older answer must not come after a newer one
                refreshed = await self._refresh()
            if refreshed:
                tries = backoff.delays()
                await asyncio.sleep(REFRESH_SECONDS)
            else:
                await asyncio.sleep(next(tries))

    async def _verify(self, token: str) -> tuple[Caller, float]:
        key = await self._key_of(token)
        try:
            claims = cast(
                "dict[str, object]",
                jwt.decode(
                    token,
                    key,
                    algorithms=[ALGORITHM],
                    audience=AUDIENCE,
                    issuer=self.deployment,
                    options={"require": ["exp", "sub"], "verify_exp": False, "verify_iat": False, "verify_nbf": False},
                ),
            )
            caller, expires = read_claims(claims), float(str(claims["exp"]))
        except (jwt.InvalidTokenError, ValueError, TypeError):
            raise TokenInvalid("this deployment did not sign the access token: log in again") from None
        if expires + LEEWAY_SECONDS <= self.clock():
            raise TokenExpired("the access token has expired: log in again")
        return caller, expires + LEEWAY_SECONDS

    async def _key_of(self, token: str) -> jwt.PyJWK:
        try:
            key_id = str(jwt.get_unverified_header(token).get("kid", ""))
        except jwt.InvalidTokenError:
            raise TokenInvalid("the access token is malformed: log in again") from None
        if key_id not in self._keys:
            await self._refresh_if_due()
        if key_id not in self._keys and self._source_failed:
            raise StoreUnavailable("auth does not answer, so the token cannot be verified: repeat the call in a moment")
        if key_id not in self._keys:
            raise TokenInvalid("the access token is signed with a key that is not this deployment's: log in again")
        return self._keys[key_id]

    async def _refresh_if_due(self) -> None:
        async with self._refreshing:
            if (now := time.monotonic()) - self._refreshed >= MIN_REFRESH_SECONDS:
                await self._refresh()
                self._refreshed = now  # unless the call is cancelled: the next one reads them

    async def _refresh(self) -> bool:
        try:
            keys = await self.source()
        except Exception as error:  # noqa: BLE001 whatever failed, the last keys stay in use
            KEY_REFRESH_FAILURES.inc()
            self._source_failed = True
            said = error.details() if isinstance(error, grpc.aio.AioRpcError) else error
            log.warning("signing keys not read", error=str(said), keys=len(self._keys))
            return False
        if not self._keys.keys() <= keys.keys():
            self._verified.clear()  # a key was withdrawn: tokens that it signed must fail
        self._keys = keys
        self._source_failed = False
        return True


def _expiry(_token: str, verified: tuple[Caller, float], _now: float) -> float:
    return verified[1]
