"""Lengths of time as administrators write them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from headrace.durations import format_duration, parse_duration


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return value
    seconds = parse_duration(value)
    if seconds is None:
        raise ValueError(f"{value[:40]!r} is no length of time; write one such as '30 min', '2 h' or 90")
    return seconds


Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(ge=0, le=10 * 365 * 86400, allow_inf_nan=False),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}], "examples": ["30 min", "2 h"]}),
]
"""Seconds, or text such as '30 min'."""
