"""Who makes the call that is being served."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from headrace.errors import TokenInvalid

OWNER = "owner"
ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """A user, as the signed token says.

    Attributes
    ----------
    user
        The user's id, without ``users/``.
    groups
        Groups that the authenticator named.
    roles
        Of ``owner`` and ``admin``.
    method
        Authenticator that vouched for the user.
    """

    user: str
    groups: tuple[str, ...] = ()
    roles: frozenset[str] = frozenset({OWNER})
    method: str = ""

    @property
    def is_admin(self) -> bool:
        return ADMIN in self.roles


@dataclass(frozen=True, slots=True)
class AgentCaller:
    """The agent of a cluster; `cluster` is its id."""

    cluster: str


_caller: ContextVar[Caller | AgentCaller | None] = ContextVar("headrace_caller", default=None)


def set_caller(caller: Caller | AgentCaller | None) -> None:
    """Says who makes the call that this task serves."""
    _caller.set(caller)


def current_caller() -> Caller:
    """Returns the user who makes this call."""
    caller = _caller.get()
    if not isinstance(caller, Caller):
        raise TokenInvalid("this call needs a user's token: log in first")
    return caller


def current_agent() -> AgentCaller:
    """Returns the agent that makes this call."""
    caller = _caller.get()
    if not isinstance(caller, AgentCaller):
        raise TokenInvalid("this call needs the token of a cluster's agent")
    return caller
