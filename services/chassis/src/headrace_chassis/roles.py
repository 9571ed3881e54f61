"""The section `roles` of the policy file: who may do what to others' clusters."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headrace.access import User, is_member
from headrace_chassis.policy_document import Document, read_text

Member = Annotated[str, Field(pattern=r"^(users/[^/\x00-\x1f]{1,256}|groups/[^\x00-\x1f]{1,256})$")]
"""``users/{user}`` or ``groups/{group}``."""


class Roles(BaseModel):
    """Who may do what to others' clusters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    admins: list[Member] = Field(
        default=[],
        max_length=10_000,
        description="Have all rights on every cluster, beside those whom auth makes administrators. They have them "
        "from their next access token on, within `token_seconds`.",
    )
    operators: dict[str, Annotated[list[Member], Field(max_length=1000)]] = Field(
        default={},
        max_length=10_000,
        description="By group: who may see, scale and stop the clusters of its members. A cluster's groups are those "
        "that its owner had when it was created.",
    )

    def makes_admin(self, user: User) -> bool:
        """Return whether a user is an admin by this policy."""
        return any(is_member(user, member) for member in self.admins)

    def operators_of(self, groups: Iterable[str]) -> tuple[str, ...]:
        """Return the operators of these groups."""
        return tuple(member for group in groups for member in self.operators.get(group, ()))

    def groups_operated_by(self, user: User) -> list[str]:
        """Return the groups that a user operates."""
        return [group for group, members in self.operators.items() if any(is_member(user, one) for one in members)]


def read_roles(file: Path) -> Roles:
    """Read the section of a policy file; raise ValueError. The controller checks the other sections."""
    content = Document.parse(read_text(file)).content
    try:
        return Roles.model_validate(cast("dict[str, Any]", content or {}).get("roles") or {})
    except ValidationError as error:
        raise ValueError(f"roles: {error.errors(include_url=False)[0]['msg']}") from None
    except AttributeError:
        raise ValueError("it is no mapping of keys to values") from None
