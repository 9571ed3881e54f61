"""The section `roles` of the policy file: who may do what to others' clusters."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from typing_extensions import override

from headrace.access import User, names_of
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
        description="By group: who may see, scale and stop the clusters of its members, and open their dashboards. A "
        "cluster's groups are those that its owner had when it was created.",
    )

    # Asked for at each call: a check costs what the caller's and the owner's groups cost, however long the lists are.
    _admins: frozenset[str] = PrivateAttr(default=frozenset())
    _operators: dict[str, frozenset[str]] = PrivateAttr(default_factory=dict[str, frozenset[str]])
    _operated: dict[str, list[str]] = PrivateAttr(default_factory=dict[str, list[str]])

    @override
    def model_post_init(self, context: Any, /) -> None:
        self._admins = frozenset(self.admins)
        self._operators = {group: frozenset(members) for group, members in self.operators.items()}
        for group, members in self._operators.items():
            for member in members:
                self._operated.setdefault(member, []).append(group)

    def makes_admin(self, user: User) -> bool:
        """Return whether a user is an admin by this policy."""
        return not self._admins.isdisjoint(names_of(user))

    def operators_of(self, groups: Iterable[str]) -> tuple[frozenset[str], ...]:
        """Return the operators of each of these groups that has some."""
        return tuple(self._operators[group] for group in groups if group in self._operators)

    def groups_operated_by(self, user: User) -> set[str]:
        """Return the groups that a user operates."""
        return {group for name in names_of(user) for group in self._operated.get(name, ())}


def read_roles(file: Path) -> Roles:
    """Read the section of a policy file; raise ValueError. The controller checks the other sections."""
    content = Document.parse(read_text(file)).content
    try:
        return Roles.model_validate(cast("dict[str, Any]", content or {}).get("roles") or {})
    except ValidationError as error:
        raise ValueError(f"roles: {error.errors(include_url=False)[0]['msg']}") from None
    except AttributeError:
        raise ValueError("it is no mapping of keys to values") from None
