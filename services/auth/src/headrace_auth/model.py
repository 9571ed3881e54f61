"""API tokens, roles and ids of users; no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from headrace.errors import PermissionDenied
from headrace_chassis.identity.caller import ADMIN, USER

ID_BYTES = 256
PASSWORD_BYTES = 1024
ADMIN_BY_POLICY = "admin-by-policy"
"""Says of an admin that they are one only as long as the policy says so. No authenticator can give it."""
IMPLIED = {ADMIN: frozenset({ADMIN, USER}), USER: frozenset({USER})}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A long-lived token, without its secret.

    Attributes
    ----------
    owner
        User id that it stands for.
    method
        Authenticator that the owner comes from. It vouches for the owner at each use.
    roles, groups
        The owner's when the token was created.
    """

    id: str
    owner: str
    method: str
    roles: frozenset[str]
    groups: tuple[str, ...]
    note: str
    created: datetime
    expires: datetime | None
    last_used: datetime | None = None

    def has_expired(self, now: datetime) -> bool:
        return self.expires is not None and self.expires <= now


def is_user_id(text: str) -> bool:
    """Whether a text can be the ``{user}`` of ``users/{user}``, wherever that is read."""
    return _is_part(text) and len(text.encode()) <= ID_BYTES


def is_group_id(text: str) -> bool:
    """Whether a text can be the id of a group. Groups may have parts, as in ``physics/lasers``."""
    return all(map(_is_part, text.split("/"))) and len(text.encode()) <= ID_BYTES


def all_roles(roles: Iterable[str]) -> frozenset[str]:
    """Return roles with those that they imply, without unknown ones."""
    return frozenset().union(*(IMPLIED.get(role, frozenset[str]()) for role in roles))


def roles_of_token(token: ApiToken) -> frozenset[str]:
    """Return the roles that a token had when it was created."""
    return all_roles(token.roles) | (token.roles & {ADMIN_BY_POLICY})


def roles_of_new_token(asked: frozenset[str], owner_has: frozenset[str]) -> frozenset[str]:
    """Return the roles of a token. None asked for means all of its owner's."""
    if excess := asked - all_roles(owner_has):
        raise PermissionDenied(
            f"a token cannot have the role {', '.join(sorted(excess))}, because its owner does not have it; "
            f"ask for {', '.join(sorted(owner_has)) or 'no role'}"
        )
    if ADMIN in asked and ADMIN_BY_POLICY in owner_has:
        return asked | {ADMIN_BY_POLICY}
    return asked or owner_has


def with_policy(roles: frozenset[str], *, makes_admin: bool) -> frozenset[str]:
    """Return roles as the policy of now has them: it makes admins, and takes back what it gave."""
    own = roles - {ADMIN, ADMIN_BY_POLICY} if ADMIN_BY_POLICY in roles else roles
    return own | IMPLIED[ADMIN] | {ADMIN_BY_POLICY} if makes_admin and ADMIN not in own else own


def _is_part(text: str) -> bool:
    # Printable: no control characters and no white space but " ". "-" stands for all users in requests.
    return text.isprintable() and not {" ", "/"}.intersection(text) and text not in {"", "-", ".", ".."}
