"""Who may do what: the one rule that every service applies. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from headrace.v1.enums import Right

SHARED_RIGHTS = frozenset({Right.CLUSTER_VIEW, Right.CLUSTER_CONNECT, Right.CLUSTER_SCALE, Right.CLUSTER_STOP})
"""Rights that a share may grant."""

CLUSTER_RIGHTS = SHARED_RIGHTS | {Right.CLUSTER_MANAGE}
"""Rights that are about one cluster."""

_USER_RIGHTS = frozenset({Right.ANYONE, Right.USER, Right.CLUSTER_CREATE})


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
    """Whose a cluster is: its owner's user id, the owner's groups, and its shares."""

    owner: str
    groups: tuple[str, ...] = ()
    shares: tuple[Share, ...] = ()


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
    if caller.is_admin or caller.user == access.owner:
        return right in _USER_RIGHTS | CLUSTER_RIGHTS
    return any(_grants(share, right, now) and _is_member(caller, share.member) for share in access.shares)


def _grants(share: Share, right: Right, now: float) -> bool:
    alive = share.expires is None or now < share.expires
    return alive and right in SHARED_RIGHTS and (right in share.rights or right is Right.CLUSTER_VIEW)


def _is_member(caller: User, member: str) -> bool:
    kind, _, name = member.partition("/")
    return name == caller.user if kind == "users" else kind == "groups" and name in caller.groups
