"""A policy as an administrator would write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import yaml

from headrace.sizes import format_bytes
from headrace_controller.policy.file import PolicyFile


def plain(policy: PolicyFile) -> dict[str, Any]:
    """Return what a policy says, with all defaults, as values of YAML; sizes and times are text with their units."""
    return _with_sizes(policy.model_dump(mode="json"))


def print_policy(policy: PolicyFile) -> str:
    """Return a policy as YAML, with all defaults. It can be read again."""
    return yaml.safe_dump(plain(policy), sort_keys=False, allow_unicode=True, width=100)


def print_value(value: object) -> str:
    """Return a value as YAML in one line."""
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9).removesuffix("...\n").strip()


def _with_sizes(value: Any) -> Any:
    """Write sizes, which their keys tell from other numbers, as text."""
    if not isinstance(value, Mapping):
        return value
    content = cast("Mapping[str, Any]", value)
    return {
        # Settings of backends have keys of others, with any values.
        key: _size(inner) if key.endswith("_bytes") and isinstance(inner, int) else _with_sizes(inner)
        for key, inner in content.items()
    }


def _size(number: int) -> int | str:
    text = format_bytes(number) if number else "bytes"
    return number if text.endswith("bytes") else text
