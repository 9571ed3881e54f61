"""Who may do what: the one rule that every service applies. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from headrace.v1.enums import Right

SHARED_RIGHTS = frozenset({Right.CLUSTER_VIEW, Right.CLUSTER_CONNECT, Right.CLUSTER_SCALE, Right.CLUSTER_STOP})
"""Rights that a share may grant."""

CLUSTER_RIGHTS = SHARED_RIGHTS | {Right.CLUSTER_MANAGE}
"""Rights that are about one cluster."""

ADMINS = "roles/admin"
"""All admins, where members are named."""

OPERATORS = "roles/operator"
"""All operators of a group of the owner, where members are named."""

_USER_RIGHTS = frozenset({Right.ANYONE, Right.USER, Right.CLUSTER_CREATE})
_OPERATOR_RIGHTS = frozenset({Right.CLUSTER_VIEW, Right.CLUSTER_SCALE, Right.CLUSTER_STOP})


class Role(StrEnum):
    """As what somebody has a right on a cluster."""

    OWNER = "owner"
    SHARED = "shared"
    OPERATOR = "operator"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Share:
    """Rights on a cluster for others than its owner.

    Attributes
    ----------
    member
        ``users/{user}`` or ``groups/{group}``.
    rights
        Granted rights, of `SHARED_RIGHTS`. Each of them includes ``CLUSTER_VIEW``.
    expires
        Time at which it ends, in seconds since the epoch. None means with the cluster.
    """

    member: str
    rights: frozenset[Right]
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """Whose a cluster is: its owner's user id, the owner's groups, its shares, and each of those groups' operators."""

    owner: str
    groups: tuple[str, ...] = ()
    shares: tuple[Share, ...] = ()
    operators: tuple[frozenset[str], ...] = ()


class User(Protocol):
    """A signed-in user."""

    @property
    def user(self) -> str:
        """User id, without ``users/``."""
        ...

    @property
    def groups(self) -> tuple[str, ...]:
        """Group names, without ``groups/``."""
        ...

    @property
    def is_admin(self) -> bool:
        """Whether the user has all rights on every cluster."""
        ...


def may(caller: User | None, right: Right, access: Access | None = None, *, now: float = 0.0) -> bool:
    """Return whether a caller has a right.

    Parameters
    ----------
    caller
        The signed-in user, or None for a call without a token.
    right
        The right that the call needs.
    access
        Whose thing the call is about: a cluster, or what belongs to a user. None if it is about none in particular.
    now
        Seconds since the epoch, for shares that end.
    """
    if caller is None:
        return right is Right.ANYONE
    if access is None or right is Right.ANYONE:
        return right in _USER_RIGHTS
    return role_for(caller, right, access, now=now) is not None


def role_for(caller: User, right: Right, access: Access, *, now: float = 0.0) -> Role | None:
    """Return as what a user has a right on a cluster, or None if they do not have it."""
    owns = caller.user == access.owner
    if owns or caller.is_admin:
        if right not in _USER_RIGHTS | CLUSTER_RIGHTS:
            return None
        return Role.OWNER if owns else Role.ADMIN
    if any(_grants(share, right, now) and is_member(caller, share.member) for share in access.shares):
        return Role.SHARED
    return Role.OPERATOR if right in _OPERATOR_RIGHTS and _operates(caller, access) else None


def members_for(caller: User, right: Right, access: Access, *, now: float = 0.0) -> list[str]:
    """Return through whom a user has a right: the owner or members of shares that include them; `ADMINS` for admins."""
    owner = f"users/{access.owner}"
    if caller.is_admin:
        return [ADMINS, owner] if caller.user == access.owner else [ADMINS]
    if caller.user == access.owner:
        return [owner]
    return [share.member for share in access.shares if _grants(share, right, now) and is_member(caller, share.member)]


def visits_through(caller: User, access: Access, *, now: float = 0.0) -> list[str]:
    """Return through whom a user may open the dashboard: who may connect may, and `OPERATORS`, since it only shows."""
    members = members_for(caller, Right.CLUSTER_CONNECT, access, now=now)
    return members or ([OPERATORS] if _operates(caller, access) else [])


def is_member(caller: User, member: str) -> bool:
    """Return whether ``users/{user}`` or ``groups/{group}`` includes a user."""
    kind, _, name = member.partition("/")
    return name == caller.user if kind == "users" else kind == "groups" and name in caller.groups


def names_of(user: User) -> list[str]:
    """Return ``users/{user}`` and the ``groups/{group}`` that include a user."""
    return [f"users/{user.user}", *(f"groups/{group}" for group in user.groups)]


def next_end(access: Access, now: float) -> float | None:
    """Return the time at which the next share ends, or None."""
    return min((share.expires for share in access.shares if share.expires and share.expires > now), default=None)


def _operates(caller: User, access: Access) -> bool:
    return any(not operators.isdisjoint(names_of(caller)) for operators in access.operators)


def _grants(share: Share, right: Right, now: float) -> bool:
    alive = share.expires is None or now < share.expires
    return alive and right in SHARED_RIGHTS and (right in share.rights or right is Right.CLUSTER_VIEW)
