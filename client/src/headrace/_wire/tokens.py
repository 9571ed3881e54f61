"""Access tokens, kept for the life of the process, so that many Gateway objects log in once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from headrace.v1 import auth_service_pb2

_MARGIN_SECONDS = 60.0
_MINIMUM_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token, its user, and the monotonic time until which to use it."""

    text: str = field(repr=False)
    use_until: float
    user: auth_service_pb2.User

    @classmethod
    def from_login(cls, login: auth_service_pb2.LoginResponse) -> AccessToken:
        left = login.expire_time.seconds - time.time()
        # The clock of this machine may be wrong; a fresh token is valid for a while in any case.
        use_for = max(left - min(_MARGIN_SECONDS, left / 4), _MINIMUM_SECONDS)
        return cls(login.access_token, time.monotonic() + use_for, login.user)


_tokens: dict[object, AccessToken] = {}


def get(key: object) -> AccessToken | None:
    """Return the token for this address and credential, unless it is about to expire."""
    token = _tokens.get(key)
    return token if token is not None and time.monotonic() < token.use_until else None


def put(key: object, token: AccessToken) -> None:
    _tokens[key] = token


def discard(key: object, token: str) -> None:
    """Discard a token that the server refused, unless another one has replaced it."""
    kept = _tokens.get(key)
    if kept is not None and kept.text == token:
        _tokens.pop(key, None)


def clear() -> None:
    _tokens.clear()
