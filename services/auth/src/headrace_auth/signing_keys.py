"""The keys that tokens are signed with: sealed in Redis, the same in all replicas, rotated."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, cast

import jwt
import redis.asyncio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from headrace import backoff
from headrace.errors import StoreUnavailable
from headrace_auth import keys
from headrace_chassis.identity.seal import DeploymentKeyError, Seal
from headrace_chassis.identity.tokens import ALGORITHM
from headrace_chassis.logs import get_logger
from headrace_chassis.redis import lua
from headrace_chassis.redis.connection import store_errors
from headrace_chassis.redis.keys import Prefix

# So soon the keys are back in a store that was emptied. A read of unchanged keys is one small command.
RELOAD_SECONDS = 1.0
# Clocks of replicas differ, and a replica may sign with a key for a moment longer.
MARGIN_SECONDS = 120

log = get_logger()
_save = lua.load("headrace_auth", "signing_keys_save")


@dataclass(frozen=True)
class SigningKey:
    """A private key. It signs until the next one is created, and verifies until it expires."""

    key_id: str
    private_pem: str = field(repr=False)
    created: float
    expires: float

    @classmethod
    def create(cls, created: float, expires: float) -> SigningKey:
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(os.urandom(8).hex(), pem.decode(), created, expires)

    @cached_property
    def private_key(self) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key(self.private_pem.encode(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    @cached_property
    def jwk_json(self) -> str:
        """The public half as a JSON Web Key."""
        return ECAlgorithm.to_jwk(self.private_key.public_key(), as_dict=False)

    @cached_property
    def public(self) -> jwt.PyJWK:
        return jwt.PyJWK(json.loads(self.jwk_json), ALGORITHM)


class SigningKeys:
    """The keys of this deployment; `run` keeps them current."""

    def __init__(
        self,
        redis: redis.asyncio.Redis,
        prefix: Prefix,
        seal: Seal,
        *,
        rotation_seconds: float,
        longest_token_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = redis
        self._key = keys.signing_keys(prefix)
        self._seal = seal
        self._rotation_seconds = rotation_seconds
        self._life_seconds = rotation_seconds + longest_token_seconds + MARGIN_SECONDS
        self._clock = clock
        self._revision = ""
        self._keys: tuple[SigningKey, ...] = ()

    @property
    def valid(self) -> Sequence[SigningKey]:
        """Keys that verify, newest first."""
        now = self._clock()
        return [key for key in self._keys if key.expires > now]

    def newest(self) -> SigningKey:
        """Return the key to sign with."""
        if not self._keys:
            raise StoreUnavailable("auth has not read its signing keys yet: repeat the call in a moment")
        return self._keys[0]

    def find(self, key_id: str) -> SigningKey | None:
        return next((key for key in self.valid if key.key_id == key_id), None)

    async def run(self) -> None:
        """Read the keys of other replicas, and rotate, until cancelled."""
        tries = backoff.delays()
        while True:
            try:
                await self.ensure()
            except Exception as error:  # noqa: BLE001 whatever failed, the last keys stay in use
                log.warning("signing keys not read", error=str(error), keys=len(self._keys))
                await asyncio.sleep(next(tries))
            else:
                tries = backoff.delays()
                await asyncio.sleep(min(RELOAD_SECONDS, self._rotation_seconds / 4))

    async def ensure(self) -> None:
        """Read the keys; create one if the newest has signed long enough. Of two replicas one wins."""
        await self.reload()
        while not self._keys or self._keys[0].created + self._rotation_seconds <= self._clock():
            now = self._clock()
            fresh = await asyncio.to_thread(SigningKey.create, now, now + self._life_seconds)
            if await self._write((fresh, *self.valid)):
                log.info("new signing key", key_id=fresh.key_id)
            else:
                await self.reload()

    async def refresh(self) -> None:
        """Read keys that another replica has created. While they cannot be read the last ones stay in use."""
        try:
            await self.reload()
        except (StoreUnavailable, DeploymentKeyError):
            if not self._keys:
                raise

    async def reload(self) -> None:
        """Read the keys if they have changed; with the store emptied, write the last ones back."""
        with store_errors():
            revision = cast("bytes | None", await self._redis.hget(self._key, "revision"))
        if revision is None:
            self._revision = ""
            if self._keys:
                await self._write(tuple(self.valid))
        elif revision.decode() != self._revision:
            await self._read()

    async def _read(self) -> None:
        with store_errors():
            found = await self._redis.hmget(self._key, ["revision", "sealed"])
        revision, sealed = cast("list[bytes | None]", found)
        if sealed is not None:
            self._keys = tuple(map(_decode, json.loads(self._seal.open(sealed))))
        # Without `sealed` the next write replaces what is there.
        self._revision = revision.decode() if revision is not None else ""

    async def _write(self, new: tuple[SigningKey, ...]) -> bool:
        revision = os.urandom(8).hex()
        sealed = self._seal.seal(json.dumps([asdict(key) for key in new]).encode())
        if not await _save(self._redis, [self._key], [self._revision, revision, sealed]):
            return False
        self._keys, self._revision = new, revision
        return True


def _decode(content: Mapping[str, Any]) -> SigningKey:
    """Read a key. Fields that a newer release added are left out."""
    return SigningKey(**{one.name: content[one.name] for one in fields(SigningKey)})
