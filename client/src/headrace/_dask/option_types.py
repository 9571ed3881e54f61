"""What values an option takes: checked here, so that a mistake is told before anything is sent."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from headrace.errors import InvalidRequest, Violation, WrongType
from headrace.v1 import options_service_pb2


def check(option: options_service_pb2.Option, value: object) -> object:
    """Returns `value` as it is to be sent; types that this client does not know pass as they are."""
    checker = _CHECKS.get(option.WhichOneof("type") or "")
    return value if checker is None else checker(option, value)


def whole_number(name: str, value: object) -> int:
    """Returns `value` as an int if it is a whole number of any kind, but not a bool."""
    if not isinstance(value, bool):
        try:
            return operator.index(cast("int", value))
        except TypeError:
            pass
    raise _wrong_type(name, "a whole number", value)


def _text(option: options_service_pb2.Option, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong_type(option.key, "text", value)
    most = option.string_type.max_bytes
    if most and len(value.encode()) > most:
        raise _wrong(option.key, f"may have at most {most} bytes, has {len(value.encode())}")
    return value


def _bool(option: options_service_pb2.Option, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(option.key, "True or False", value)
    return value


def _int(option: options_service_pb2.Option, value: object) -> int:
    number = whole_number(option.key, value)
    _check_bounds(option.key, option.int_type, number)
    return number


def _float(option: options_service_pb2.Option, value: object) -> float:
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise _wrong_type(option.key, "a number", value)
    number = float(cast("float", value))
    if not math.isfinite(number):
        raise _wrong(option.key, f"must be finite, is {number}")
    _check_bounds(option.key, option.float_type, number)
    return number


def _select(option: options_service_pb2.Option, value: object) -> str:
    choices = ", ".join(map(repr, option.select_type.choices))
    if not isinstance(value, str):
        raise _wrong_type(option.key, f"one of {choices}", value)
    if value not in option.select_type.choices:
        raise _wrong(option.key, f"must be one of {choices}, is {value!r}")
    return value


def _mapping(option: options_service_pb2.Option, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise _wrong_type(option.key, "a mapping of text to text", value)
    items = cast("Mapping[object, object]", value)
    most = option.mapping_type.max_entries
    if most and len(items) > most:
        raise _wrong(option.key, f"may have at most {most} keys, has {len(items)}")
    return {_key(option, key): _entry(option, key, item) for key, item in items.items()}


def _key(option: options_service_pb2.Option, key: object) -> str:
    if not isinstance(key, str):
        raise _wrong_type(f"{option.key}: key {key!r}", "text", key)
    return key


def _entry(option: options_service_pb2.Option, key: object, value: object) -> str:
    # Environment variables are where nearly everybody writes a number: {"OMP_NUM_THREADS": 1}.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong_type(f"{option.key}[{key!r}]", "text", value)
    return str(value)


def _bytes(option: options_service_pb2.Option, value: object) -> int | str:
    if isinstance(value, str):
        _check_bounds(option.key, option.bytes_type, _parse_bytes(option.key, value))
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    number = whole_number(option.key, value)
    _check_bounds(option.key, option.bytes_type, number)
    return number


def _parse_bytes(key: str, text: str) -> int:
    from dask.utils import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError:
        raise _wrong(key, f"must be a number of bytes or text such as '4 GiB', is {text!r}") from None


def _list(option: options_service_pb2.Option, value: object) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _wrong_type(option.key, "a list of texts", value)
    items = cast("Sequence[object]", value)
    most = option.list_type.max_items
    if most and len(items) > most:
        raise _wrong(option.key, f"may have at most {most} items, has {len(items)}")
    for n, item in enumerate(items):
        if not isinstance(item, str):
            raise _wrong_type(f"{option.key}[{n}]", "text", item)
    return cast("list[str]", list(items))


def _check_bounds(
    key: str,
    bounds: options_service_pb2.IntType | options_service_pb2.FloatType | options_service_pb2.BytesType,
    number: float,
) -> None:
    if bounds.HasField("minimum") and number < bounds.minimum:
        raise _wrong(key, f"must be at least {bounds.minimum:g}, is {number:g}")
    if bounds.HasField("maximum") and number > bounds.maximum:
        raise _wrong(key, f"must be at most {bounds.maximum:g}, is {number:g}")


def _wrong(key: str, description: str) -> InvalidRequest:
    return InvalidRequest.of(Violation(key, description))


def _wrong_type(key: str, wanted: str, value: object) -> WrongType:
    return WrongType.of(Violation(key, f"must be {wanted}, is {value!r:.80} ({type(value).__name__})"))


_CHECKS: Mapping[str, Callable[[options_service_pb2.Option, object], object]] = {
    "string_type": _text,
    "bool_type": _bool,
    "int_type": _int,
    "float_type": _float,
    "select_type": _select,
    "mapping_type": _mapping,
    "bytes_type": _bytes,
    "list_type": _list,
}
