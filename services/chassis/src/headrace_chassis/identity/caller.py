"""The caller of the RPC that is being served: a user, or a cluster's agent."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from headrace.errors import TokenInvalid
from headrace.resource_names import cluster_name, user_name

USER = "user"
ADMIN = "admin"
ROLES = frozenset({USER, ADMIN})


@dataclass(frozen=True, slots=True)
class Caller:
    """A user, as the signed token names them.

    Attributes
    ----------
    user
        User id, without ``users/``.
    groups
        Groups that the authenticator reported, without ``groups/``.
    roles
        Of `ROLES`.
    method
        Authenticator that the user comes from.
    ends
        Time at which the credential ends that the user logged in with, in seconds since the epoch; None for never.
        What is issued to the user ends by then.
    token
        Names the credential that the user logged in with: ``apiTokens/{api_token}``, or a random text of the login.
    """

    user: str
    groups: tuple[str, ...] = ()
    roles: frozenset[str] = frozenset({USER})
    method: str = ""
    ends: float | None = None
    token: str = ""

    @property
    def is_admin(self) -> bool:
        return ADMIN in self.roles


@dataclass(frozen=True, slots=True)
class AgentCaller:
    """The agent of a process.

    Attributes
    ----------
    cluster, process
        Id of the cluster; "scheduler", or the id of the worker. Both are empty for a process in standby, which belongs
        to no cluster yet.
    launch
        Names the launch whose token it sent; empty for the credential of a process that has enrolled.
    """

    cluster: str
    process: str
    launch: str = ""


_caller: ContextVar[Caller | AgentCaller | None] = ContextVar("headrace_caller", default=None)


def set_caller(caller: Caller | AgentCaller | None) -> None:
    """Record the caller of the RPC that this task serves."""
    _caller.set(caller)


def caller_name() -> str:
    """Return ``users/{user}`` or ``clusters/{cluster}``, or "" if the RPC is for anyone or for services.

    A process in standby is called ``launches/{launch}``.
    """
    match _caller.get():
        case None:
            return ""
        case AgentCaller(cluster="") as agent:
            return f"launches/{agent.launch}"
        case AgentCaller() as agent:
            return cluster_name(agent.cluster)
        case user:
            return user_name(user.user)


def caller_or_none() -> Caller | None:
    """Return the user who called; None if it was no user, or nobody has found out yet."""
    caller = _caller.get()
    return caller if isinstance(caller, Caller) else None


def current_caller() -> Caller:
    """Return the user who called; raise `TokenInvalid` if it was no user."""
    caller = _caller.get()
    if not isinstance(caller, Caller):
        raise TokenInvalid("this call needs a user's token: log in first")
    return caller


def current_agent() -> AgentCaller:
    """Return the agent that called; raise `TokenInvalid` if it was no agent."""
    caller = _caller.get()
    if not isinstance(caller, AgentCaller):
        raise TokenInvalid("this call needs the token of a cluster's agent")
    return caller
