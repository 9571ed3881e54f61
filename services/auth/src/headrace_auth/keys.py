"""Keys in Redis that auth writes, each from the module of its subject (`signing_keys`, `api_token_store`, `throttle`).

============================  ======  =====================================================  ==================
key                           type    content                                                expiry
============================  ======  =====================================================  ==================
``auth:signing-keys``         hash    ``revision``, ``sealed`` (the keys: JSON, sealed)      permanent
``auth:api-token:<id>``       hash    owner, method, roles, groups, note, times, digest    a week after its own
``auth:api-token-of:<hash>``  string  id of the token with this SHA-256, or ``revoked``      the same; 30 days
``auth:api-tokens:<owner>``   zset    ids -> creation time                                   permanent
``auth:attempts:<hash>``      string  attempts to log in of a user name                      a minute
============================  ======  =====================================================  ==================
"""

from __future__ import annotations

import hashlib

from headrace_chassis.redis.keys import Prefix


def signing_keys(prefix: Prefix) -> str:
    """Key of the signing keys."""
    return prefix.key("auth", "signing-keys")


def api_token(prefix: Prefix, token_id: str) -> str:
    """Key of a token's record."""
    return prefix.key("auth", "api-token", token_id)


def api_token_of(prefix: Prefix, digest: str) -> str:
    """Key that leads from the hash of a secret to the token."""
    return prefix.key("auth", "api-token-of", digest)


def api_tokens(prefix: Prefix, owner: str) -> str:
    """Key of the list of an owner's tokens."""
    return prefix.key("auth", "api-tokens", owner)


def attempts(prefix: Prefix, username: str) -> str:
    """Key of the attempts to log in as a user name, which may be any text."""
    return prefix.key("auth", "attempts", hashlib.sha256(username.encode()).hexdigest()[:32])
