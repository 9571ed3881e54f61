"""Keys in Redis that auth writes, each from the module of its subject (`signing_keys`, `api_token_store`, `throttle`).

============================  ======  =====================================================  ==================
key                           type    content                                                expiry
============================  ======  =====================================================  ==================
``auth:signing-keys``         hash    ``revision``, ``sealed`` (the keys: JSON, sealed)      permanent
``auth:api-token:<id>``       hash    owner, method, roles, groups, note, times, digest    a week after its own
``auth:api-token-of:<hash>``  string  id of the token with this SHA-256, or ``revoked``      the same; 30 days
``auth:api-tokens:<owner>``   zset    ids -> creation time                                   permanent
``auth:api-revoked:<owner>``  zset    ids -> creation time; the last 1000                    permanent
``auth:link:<hash>``          hash    ``token``, ``browser`` and ``used`` (who opened it)     its own
``auth:links:<user>``         zset    keys of the user's links -> when they expire           a link's
``auth:ended-sessions``       zset    user -> time until which their sessions are refused    permanent
``auth:attempts:<hash>``      string  attempts to log in as a user name, from one source     a minute
                                      or from all that are not known for it
``auth:known:<hash>``         string  exists: a source has logged in as a user name          30 days
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


def revoked_api_tokens(prefix: Prefix, owner: str) -> str:
    """Key of an owner's tokens that were revoked."""
    return prefix.key("auth", "api-revoked", owner)


def dashboard_link(prefix: Prefix, digest: str) -> str:
    """Key of the dashboard link whose code has this hash."""
    return prefix.key("auth", "link", digest)


def dashboard_links(prefix: Prefix, user: str) -> str:
    """Key of the list of a user's dashboard links."""
    return prefix.key("auth", "links", user)


def ended_sessions(prefix: Prefix) -> str:
    """Key of the users whose dashboard sessions were ended."""
    return prefix.key("auth", "ended-sessions")


def attempts(prefix: Prefix, username: str, source: str = "") -> str:
    """Key of the attempts to log in as a user name from a source; without one, from all that are not known for it."""
    return prefix.key("auth", "attempts", _digest(username, source))


def known_source(prefix: Prefix, username: str, source: str) -> str:
    """Key that exists if somebody has logged in as a user name from a source."""
    return prefix.key("auth", "known", _digest(username, source))


def _digest(username: str, source: str) -> str:
    # User names may be any text; sources have no NUL.
    return hashlib.sha256(f"{source}\0{username}".encode()).hexdigest()[:32]
