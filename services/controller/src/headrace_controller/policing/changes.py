"""The keys in which two policies differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from headrace_controller.policing.printed import plain, print_value
from headrace_controller.policy.file import PolicyFile


@dataclass(frozen=True, slots=True)
class Change:
    """A key whose value differs. Values are YAML; None where there is no such key."""

    key: str
    before: str | None
    after: str | None


def changes(before: PolicyFile, after: PolicyFile) -> list[Change]:
    """Return what differs, in the order of the keys; defaults that are written out are no difference."""
    found = _changes(plain(before), plain(after), "")
    first, now_first = next(iter(before.profiles)), next(iter(after.profiles))
    if first != now_first:
        found.append(Change("profiles (the default one)", print_value(first), print_value(now_first)))
    return found


_GONE: Any = object()


def _changes(before: Any, after: Any, path: str) -> list[Change]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        found: list[Change] = []
        for key in dict.fromkeys((*before, *after)):
            found += _changes(before.get(key, _GONE), after.get(key, _GONE), f"{path}.{key}".removeprefix("."))
        return found
    if before == after:
        return []
    return [Change(path, _printed(before), _printed(after))]


def _printed(value: Any) -> str | None:
    return None if value is _GONE else print_value(_bare(value))


def _bare(value: Any) -> Any:
    """Leave out of a mapping what says nothing: a profile that comes or goes would fill a page."""
    if not isinstance(value, Mapping):
        return value
    bare = {key: _bare(inner) for key, inner in cast("Mapping[Any, Any]", value).items()}
    return {key: inner for key, inner in bare.items() if inner not in (None, "", 0, [], {})}
