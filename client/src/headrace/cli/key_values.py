"""Arguments of the form key=value."""

from __future__ import annotations

import json
from collections.abc import Iterable

import typer


def parse_values(pairs: Iterable[str]) -> dict[str, object]:
    """Takes numbers, true, false, lists and mappings as JSON has them; everything else is text."""
    return {key: _value(text) for key, text in _split(pairs, "option")}


def parse_tags(pairs: Iterable[str]) -> dict[str, str]:
    """Takes all values as text."""
    return dict(_split(pairs, "tag"))


def _split(pairs: Iterable[str], what: str) -> Iterable[tuple[str, str]]:
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{pair!r} must be of the form key=value", param_hint=f"--{what}")
        yield key, text


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
