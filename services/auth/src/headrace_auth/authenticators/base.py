"""The seam to authenticators: what vouches for users.

An authenticator is found by the entry point group ``headrace.authenticators``: a :class:`Plugin`. It has one or more
of the abilities below, and knows users by its own names; :mod:`headrace_auth.authenticators.realms` makes ids of them.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from headrace_chassis.identity.caller import USER


class AuthenticatorSettings(BaseModel):
    """Settings shared by all authenticators. Each authenticator's `Settings` adds its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(default="", description="Entry point of the authenticator. Default: its name in these settings.")
    label: str = Field(default="", max_length=128, description="Name for people. Default: the authenticator's own.")
    prefix: str = Field(
        default="",
        max_length=64,
        pattern=r"^[^/\s]*$",
        description='Put before the names of users and groups to make their ids. Default: the name and ":". '
        'Set it to "" to have plain names.',
    )
    shared_namespace: bool = Field(
        default=False,
        description="Set it on all authenticators that have the same prefix, if a name is the same person in all.",
    )


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, as an authenticator knows them.

    Attributes
    ----------
    name
        Name of the user in the authenticator.
    groups
        Names of the user's groups.
    roles
        Of ``user`` and ``admin``.
    ends
        Time at which the token ends that the user came with, in seconds since the epoch. What headrace issues for it
        ends by then. None if it has no end, or if the user came with a password.
    """

    name: str
    groups: tuple[str, ...] = ()
    roles: frozenset[str] = frozenset({USER})
    ends: float | None = None


@runtime_checkable
class ChecksPasswords(Protocol):
    """Ability: knows users by name and password."""

    async def check_password(self, username: str, password: str) -> Identity | None:
        """Return the user, or None for a name that it does not know: then the next authenticator is asked.

        Raise `BadCredentials` for a known user with another password. Both must take the same time.
        """
        ...


@runtime_checkable
class ChecksTokens(Protocol):
    """Ability: knows users by tokens that another system issued."""

    async def check_token(self, token: str) -> Identity | None:
        """Return the user, or None for a token of another kind: then the next authenticator is asked.

        Raise `BadCredentials`, `TokenExpired` or `TokenRevoked` for its own that are not valid.
        """
        ...


@runtime_checkable
class KnowsUsers(Protocol):
    """Ability: keeps the list of its users, so that API tokens and dashboard sessions follow changes of it."""

    async def find_user(self, name: str) -> Identity | None:
        """Return the user with their groups and roles of now, or None if there is no such user any more."""
        ...


@runtime_checkable
class Warns(Protocol):
    """Ability: has a warning that each login by it returns."""

    @property
    def warning(self) -> str:
        """The warning."""
        ...


Authenticator = ChecksPasswords | ChecksTokens | KnowsUsers


class Plugin(Protocol):
    """An entry of the entry point group ``headrace.authenticators``, usually a module."""

    Settings: ClassVar[type[AuthenticatorSettings]]
    """Model of its settings; read from ``authenticators.<name>`` of the auth service's settings."""

    def create(self, settings: Any, stack: AsyncExitStack) -> Authenticator:
        """Create the authenticator. What must be closed when the service ends goes onto the stack."""
        ...
