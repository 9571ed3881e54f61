"""What an authenticator is, and how they are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

import redis.asyncio

from headrace_auth.api_token_store import ApiTokenStore
from headrace_auth.config import AuthSettings
from headrace_chassis.identity.caller import Caller

GROUP = "headrace.authenticators"


class Authenticator(Protocol):
    """Vouches for users; may have one or more of the abilities below."""

    @property
    def method(self) -> str:
        """Its name, as in `User.method` and `TokenCredential.method`."""
        ...


@runtime_checkable
class ChecksPasswords(Protocol):
    """Knows users by name and password."""

    async def check_password(self, username: str, password: str) -> Caller:
        """Returns the user, or raises BadCredentials, after the same time whatever was wrong."""
        ...


@runtime_checkable
class ChecksTokens(Protocol):
    """Knows users by tokens that somebody issued."""

    async def check_token(self, token: str) -> Caller:
        """Returns the user, or raises BadCredentials, TokenExpired or TokenRevoked."""
        ...


@runtime_checkable
class KnowsUsers(Protocol):
    """Keeps the list of its users, so that what stands for one can be checked later."""

    async def find_user(self, user: str) -> Caller | None:
        """Returns the user as they are now, None if there is no such user (any more)."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What authenticators are built from."""

    settings: AuthSettings
    redis: redis.asyncio.Redis
    api_tokens: ApiTokenStore
    stack: AsyncExitStack
    authenticators: dict[str, Authenticator] = field(default_factory=dict[str, Authenticator])


# Builds an authenticator, or returns None where the settings do not ask for it.
Factory = Callable[[Parts], Authenticator | None]


def build_authenticators(parts: Parts) -> Mapping[str, Authenticator]:
    """Builds all that are installed and asked for; they find one another in `parts.authenticators`."""
    for entry in entry_points(group=GROUP):
        factory: Factory = entry.load()
        if (authenticator := factory(parts)) is not None:
            parts.authenticators[authenticator.method] = authenticator
    return parts.authenticators
