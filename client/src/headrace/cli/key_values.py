"""Arguments of the form key=value."""

from __future__ import annotations

import json
from collections.abc import Iterable

import typer

from headrace.v1.cluster_pb2 import Share
from headrace.v1.right_pb2 import Right


def parse_values(pairs: Iterable[str]) -> dict[str, object]:
    """Return values by key: numbers, true, false, lists and mappings as JSON, everything else as text."""
    return {key: _value(text) for key, text in _split(pairs, "option")}


def parse_tags(pairs: Iterable[str]) -> dict[str, str]:
    """Return texts by key."""
    return dict(_split(pairs, "tag"))


def parse_limits(pairs: Iterable[str]) -> dict[str, str]:
    """Return limits as a policy has them, by resource."""
    return {resource.strip(): text.strip() for resource, text in _split(pairs, "limit")}


def parse_shares(pairs: Iterable[str]) -> list[Share]:
    """Return the shares of "users/bob=connect,scale"."""
    return [
        Share(member=member, rights=[_right(name) for name in names.split(",")])
        for member, names in _split(pairs, "share")
    ]


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


def _right(name: str) -> Right.ValueType:
    try:
        return Right.Value(f"RIGHT_CLUSTER_{name.strip().upper()}")
    except ValueError:
        hint = f"{name!r} is none of view, connect, scale, stop"
        raise typer.BadParameter(hint, param_hint="--share") from None
