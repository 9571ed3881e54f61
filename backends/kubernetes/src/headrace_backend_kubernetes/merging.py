"""Merges what several layers of settings say of a pod. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast


def merge(base: Any, over: Any) -> Any:
    """Return `base` with `over` laid on it: mappings merge, lists append, anything else replaces.

    Null stays in the result, so that it also removes what a layer below gives; `without_nulls` drops it at the end.
    """
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        below, above = cast("Mapping[str, Any]", base), cast("Mapping[str, Any]", over)
        return {**below, **{key: merge(below[key], value) if key in below else value for key, value in above.items()}}
    if isinstance(base, list) and isinstance(over, list):
        return [*cast("list[Any]", base), *cast("list[Any]", over)]
    return over


def without_nulls(value: Any) -> Any:
    """Return a deep copy without the keys whose value is null."""
    if isinstance(value, Mapping):
        content = cast("Mapping[str, Any]", value)
        return {key: without_nulls(inner) for key, inner in content.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in cast("list[Any]", value)]
    return value
