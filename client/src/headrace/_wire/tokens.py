"""Access tokens, kept for the life of the process, so that many Gateway objects log in once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from headrace.v1 import auth_service_pb2

_MARGIN_SECONDS = 60.0
_LEAST_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token and until when to use it, by the monotonic clock."""

    text: str = field(repr=False)
    use_until: float
    user: auth_service_pb2.User

    @classmethod
    def of(cls, login: auth_service_pb2.LoginResponse) -> AccessToken:
        """Makes it from the answer to a login."""
        left = login.expire_time.seconds - time.time()
        # However wrong this machine's clock is, a fresh token is good for a while.
        use_for = max(left - min(_MARGIN_SECONDS, left / 4), _LEAST_SECONDS)
        return cls(login.access_token, time.monotonic() + use_for, login.user)

    @property
    def fresh(self) -> bool:
        """Whether to use it still."""
        return time.monotonic() < self.use_until


_tokens: dict[object, AccessToken] = {}


def get(key: object) -> AccessToken | None:
    """Returns the token for this address and credential, if it is fresh."""
    token = _tokens.get(key)
    return token if token is not None and token.fresh else None


def put(key: object, token: AccessToken) -> None:
    """Keeps a token."""
    _tokens[key] = token


def forget(key: object, token: str) -> None:
    """Drops a token that turned out not to work, unless somebody has renewed it meanwhile."""
    kept = _tokens.get(key)
    if kept is not None and kept.text == token:
        _tokens.pop(key, None)


def forget_all() -> None:
    """Drops all tokens."""
    _tokens.clear()
