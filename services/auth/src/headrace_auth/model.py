"""API tokens and roles, as auth thinks of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from headrace.errors import PermissionDenied
from headrace_chassis.identity.caller import ADMIN, OWNER

# An admin owns clusters as everybody does.
IMPLIED = {ADMIN: frozenset({ADMIN, OWNER}), OWNER: frozenset({OWNER})}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A long-lived token, without its secret.

    Attributes
    ----------
    vouched_by
        Authenticator that knows the owner and is asked again at each use; "" if none keeps a list of users.
    """

    id: str
    owner: str
    roles: frozenset[str]
    groups: tuple[str, ...]
    note: str
    vouched_by: str
    created: datetime
    expires: datetime | None
    last_used: datetime | None = None

    def has_expired(self, now: datetime) -> bool:
        return self.expires is not None and self.expires <= now


def all_roles(roles: Iterable[str]) -> frozenset[str]:
    """Adds to roles those that they imply; unknown ones are left out."""
    return frozenset().union(*(IMPLIED.get(role, frozenset[str]()) for role in roles))


def roles_of_new_token(asked: frozenset[str], owner_has: frozenset[str]) -> frozenset[str]:
    """Returns the roles of a token; none asked for means all of its owner's."""
    if excess := asked - all_roles(owner_has):
        raise PermissionDenied(
            f"a token cannot have the role {', '.join(sorted(excess))}, because its owner does not have it; "
            f"ask for {', '.join(sorted(owner_has)) or 'no role'}"
        )
    return asked or owner_has
