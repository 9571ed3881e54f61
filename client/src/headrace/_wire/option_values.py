"""Values of options: as the contract carries them where their types are not known, and as people read them."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import cast

from headrace.durations import format_duration
from headrace.errors import Violation, WrongType
from headrace.option_protos import value_from_proto, value_to_proto
from headrace.option_types import BadValue
from headrace.sizes import describe_bytes
from headrace.v1.option_value_pb2 import OptionValue
from headrace.v1.options_service_pb2 import Option


def option_values(values: Mapping[str, object]) -> dict[str, OptionValue]:
    """Return values by key. Raises WrongType if the contract carries no such value."""
    return {key: _to_proto(key, value) for key, value in values.items()}


def shown(proto: OptionValue, option: Option | None) -> str:
    """Return a value as people read it: "2 GiB", "2 h". Its option is None where it is not known."""
    match option and option.WhichOneof("type"), value_from_proto(proto):
        case "bytes_type", int(number):
            return describe_bytes(number)
        case "duration_type", float(seconds):
            return format_duration(seconds)
        case _, value:
            return str(value)


def _to_proto(key: str, value: object) -> OptionValue:
    try:
        return value_to_proto(_plain(value))
    except BadValue:
        description = f"{value!r:.80} cannot be sent ({type(value).__name__})"
        raise WrongType.of(Violation(key, description)) from None


def _plain(value: object) -> object:
    """Return numbers and containers of NumPy and others as Python's own."""
    match value:
        case bool() | str() | bytes():
            return value
        case numbers.Integral():
            return int(value)
        case numbers.Real():
            return float(value)
        case timedelta():
            return value.total_seconds()
        case Mapping():
            items = {str(key): _plain(item) for key, item in cast("Mapping[object, object]", value).items()}
            # Environment variables: {"OMP_NUM_THREADS": 1, "MODE": "fast"}.
            has_text = any(isinstance(item, str) for item in items.values())
            return {key: _as_text(item) for key, item in items.items()} if has_text else items
        case Sequence():
            return [_plain(item) for item in cast("Sequence[object]", value)]
        case _:
            return value


def _as_text(item: object) -> object:
    return str(item) if isinstance(item, int | float) and not isinstance(item, bool) else item
