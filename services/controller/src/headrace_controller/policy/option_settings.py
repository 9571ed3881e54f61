"""Options of profiles, as an administrator writes them. Values are written as users write them, such as '4 GiB'."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from headrace.option_types import BadValue, check_pattern
from headrace_controller.policy.sections import Section

Bound = int | float | str
OptionTypeName = Literal["text", "boolean", "integer", "float", "choice", "mapping", "bytes", "duration"]

_NEW_KEY = re.compile(r"[a-z][a-z0-9_]{0,62}")
# Words that mean something else where users write options, as arguments or keys of a worker group.
_TAKEN = frozenset(
    {
        "address",
        "adapt",
        "asynchronous",
        "auth",
        "cluster_name",
        "cluster_options",
        "group",
        "lifetime",
        "loop",
        "name",
        "options",
        "owner",
        "owner_groups",
        "profile",
        "proxy_address",
        "public_address",
        "shares",
        "shutdown_on_close",
        "size",
        "tags",
        "timeout",
        "worker_groups",
    }
)


def check_new_key(key: str) -> None:
    """Raise ValueError for a key that no new option can have: users write it as an argument."""
    if not _NEW_KEY.fullmatch(key):
        raise ValueError("must begin with a letter, and have only a-z, 0-9 and '_', at most 63 of them")
    if key in _TAKEN:
        raise ValueError("already has a meaning where users give options; choose another key")


def _pattern(pattern: str) -> str:
    try:
        check_pattern(pattern)
    except BadValue as error:
        raise ValueError(str(error)) from None
    return pattern


class OptionChange(Section):
    """Changes to an option. It can only be narrowed."""

    default: Any = Field(default=None, description="Value if none is given.")
    minimum: Bound | None = Field(default=None, description="Minimum of a number, of bytes or of a duration.")
    maximum: Bound | None = Field(default=None, description="Maximum of a number, of bytes or of a duration.")
    choices: list[Any] | dict[str, Any] | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="The values that may be chosen: a list, or a mapping of labels to values.",
    )
    pattern: Annotated[str, AfterValidator(_pattern)] | None = Field(
        default=None, max_length=256, description="Regular expression that a whole text must match."
    )
    max_length: int | None = Field(default=None, ge=0, le=32768, description="Maximum length of a text, in bytes.")
    allow: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(
        default=[],
        max_length=128,
        description="What a text must be like, such as images; '*' stands for any text. Empty means any text. An empty "
        "text is always allowed.",
    )
    deny: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(
        default=[],
        max_length=128,
        description="Texts that are refused, or keys of a mapping, such as environment variables; '*' stands for any "
        "text.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.choices is not None and (self.minimum is not None or self.maximum is not None):
            raise ValueError("set either `choices`, or `minimum` and `maximum`")
        return self


class OptionSettings(OptionChange):
    """An option in a profile: a change to one that there is, or with `type` a new one."""

    label: str = Field(default="", max_length=256, description="Label for people. Empty means the one it has.")
    description: str = Field(
        default="", max_length=1024, description="Sentence for people, with the unit. Empty means the one it has."
    )
    type: OptionTypeName | None = Field(default=None, description="Declares a new option, of this type.")
    per_group: bool = Field(default=True, description="Whether a new option may differ between worker groups.")
    sets: dict[str, str | dict[str | bool | int | float, Any]] = Field(
        default={},
        max_length=32,
        description="What a new option stands for: from `environment.NAME` or the key of another option to a text with "
        "`{value}`, or to a mapping of its values.",
    )

    @model_validator(mode="after")
    def _check_declaration(self) -> Self:
        if self.type is None and self.sets:
            raise ValueError("only a new option can have `sets`: give its `type`")
        if self.type == "choice" and self.choices is None:
            raise ValueError("give its `choices`")
        for target, template in self.sets.items():
            if isinstance(template, str) and "{value}" not in template:
                raise ValueError(f"`sets.{target}` must have '{{value}}' in its text, or be a mapping of values")
        return self
