"""Types of options: which values each takes. Pure; the client and the controller check with the same code."""

from __future__ import annotations

import fnmatch
import functools
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import SupportsFloat, SupportsIndex, TypeGuard, TypeVar, cast

from headrace.durations import format_duration, parse_duration
from headrace.sizes import format_bytes

OptionValue = str | bool | int | float | list[str] | Mapping[str, str | float]

# What the contract's int64 carries.
_INT_MINIMUM, _INT_MAXIMUM = -(2**63), 2**63 - 1
_MAX_BYTES = 32768
_KEY = re.compile(r"[^=\0]+")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?\s*", re.ASCII | re.IGNORECASE)
_UNITS = {
    "": 1,
    **{unit: 1000**n for n, unit in enumerate("kmgtp", 1)},
    **{f"{unit}i": 1024**n for n, unit in enumerate("kmgtp", 1)},
}
_BYTES = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?(?:e[0-9]{1,2})?)\s*(?:([kmgtp]i?)b?|b|bytes?|)\s*", re.IGNORECASE)

Number = TypeVar("Number", int, float)


class BadValue(ValueError):
    """A value does not fit the type of its option; the message says what the type takes.

    Attributes
    ----------
    path
        The wrong part of the value, such as ``"['OMP_NUM_THREADS']"``; empty if it is the whole value.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class BadType(BadValue, TypeError):
    """A value has the wrong Python type."""


@dataclass(frozen=True, slots=True)
class Text:
    """Text of at most `max_bytes` bytes in UTF-8, all of which matches the regular expression `pattern`.

    Attributes
    ----------
    allowed, denied
        A text must be like one of `allowed`, if there are any, and like none of `denied`; ``*`` stands for any text. An
        empty text means "nothing special" and is allowed.
    """

    max_bytes: int | None = 1024
    pattern: str | None = None
    allowed: tuple[str, ...] | None = None
    denied: tuple[str, ...] | None = None

    def check(self, value: object) -> str:
        """Return the value, or raise `BadValue`."""
        text = _text(value, self.max_bytes)
        if self.pattern is not None and not _matcher(self.pattern)(text):
            raise BadValue(f"must match the pattern {self.pattern}, is {_shown(text)}")
        if text and self.allowed and not any(_like(text, pattern) for pattern in self.allowed):
            raise BadValue(f"must be like {_either(self.allowed)}, is {_shown(text)}; no other is allowed")
        for pattern in self.denied or ():
            if text and _like(text, pattern):
                raise BadValue(f"must not be like {pattern}, is {_shown(text)}; that is not allowed")
        return text


@dataclass(frozen=True, slots=True)
class Bool:
    """True or False."""

    def check(self, value: object) -> bool:
        """Return the value, or raise `BadValue`."""
        if not isinstance(value, bool):
            raise _wrong_type("True or False", value)
        return value


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number."""

    minimum: int | None = None
    maximum: int | None = None

    def check(self, value: object) -> int:
        """Return the value as an int, or raise `BadValue`. Text is taken, because templates give it."""
        number = whole_number(int(value) if _is_number(value) and value.strip().lstrip("+-").isdigit() else value)
        _check_bounds(number, self.minimum, self.maximum)
        return number


@dataclass(frozen=True, slots=True)
class Float:
    """A number."""

    minimum: float | None = None
    maximum: float | None = None

    def check(self, value: object) -> float:
        """Return the value as a float, or raise `BadValue`. Text is taken, because templates give it."""
        number = _number(float(value) if _is_number(value) else value)
        _check_bounds(number, self.minimum, self.maximum)
        return number


@dataclass(frozen=True, slots=True)
class Bytes:
    """A number of bytes; text such as ``"4 GiB"`` is taken too."""

    minimum: int | None = None
    maximum: int | None = None

    def check(self, value: object) -> int:
        """Return the number of bytes, or raise `BadValue`."""
        number = parse_bytes(value) if isinstance(value, str) else whole_number(value)
        _check_bounds(number, self.minimum, self.maximum, format_bytes)
        return number


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time in seconds; text such as ``"2 h"`` and a `timedelta` are taken too."""

    minimum: float | None = None
    maximum: float | None = None

    def check(self, value: object) -> float:
        """Return the number of seconds, or raise `BadValue`."""
        if isinstance(value, str):
            number = parse_duration(value)
            if number is None:
                raise BadValue(f"must be a length of time such as '2 h' or a number of seconds, is {_shown(value)}")
        else:
            number = _number(value.total_seconds() if isinstance(value, timedelta) else value)
        _check_bounds(number, max(0.0, self.minimum or 0.0), self.maximum, format_duration)
        return number


@dataclass(frozen=True, slots=True)
class Choice:
    """A value that may be chosen, with its label for people."""

    value: OptionValue
    label: str = ""


@dataclass(frozen=True, slots=True)
class Select:
    """One of a list. A choice is named by its value or by its label."""

    choices: tuple[Choice, ...]

    def check(self, value: object) -> OptionValue:
        """Return the value of the choice, or raise `BadValue`."""
        for choice in self.choices:
            if _same(choice.value, value):
                return choice.value
        for choice in self.choices:
            if choice.label and choice.label == value:
                return choice.value
        choices = ", ".join(_shown(choice.label or choice.value) for choice in self.choices)
        if not any(isinstance(value, type(choice.value) | str) for choice in self.choices):
            raise _wrong_type(f"one of {choices}", value)
        raise BadValue(f"must be one of {choices}, is {_shown(value)}")


@dataclass(frozen=True, slots=True)
class TextMapping:
    """Texts by key, such as environment variables. Numbers are kept as text.

    Attributes
    ----------
    denied_keys
        Keys that are refused; ``*`` stands for any text. Upper and lower case, and ``-`` and ``_``, count as equal, as
        they do in the names of Dask's settings.
    key_pattern
        Regular expression that each key must match.
    """

    max_entries: int | None = 128
    denied_keys: tuple[str, ...] | None = None
    key_pattern: str | None = None

    def check(self, value: object) -> dict[str, str]:
        """Return a copy, or raise `BadValue`."""
        items = _mapping(value, "text to text", self.max_entries)
        checked = {key: _item(key, item) for key, item in items.items()}
        _check_total([*checked, *checked.values()])
        for key in checked:
            self.check_key(key)
        return checked

    def check_key(self, key: str) -> None:
        """Raise `BadValue` if the key is denied, or is not written as keys must be."""
        if self.key_pattern is not None and not _matcher(self.key_pattern)(key):
            raise BadValue(f"must have a name that matches the pattern {self.key_pattern}", f"[{_shown(key)}]")
        for pattern in self.denied_keys or ():
            if _like(_folded(key), _folded(pattern)):
                raise BadValue(f"may not be set, as nothing that is named like {pattern}", f"[{_shown(key)}]")


@dataclass(frozen=True, slots=True)
class NumberMapping:
    """Numbers by key, such as Dask resources."""

    max_entries: int | None = 128

    def check(self, value: object) -> dict[str, float]:
        """Return a copy, or raise `BadValue`."""
        items = _mapping(value, "text to numbers", self.max_entries)
        _check_total(list(items))
        return {key: _number(item, f"[{key!r}]") for key, item in items.items()}


@dataclass(frozen=True, slots=True)
class TextList:
    """A list of texts, such as a command."""

    max_items: int | None = 128

    def check(self, value: object) -> list[str]:
        """Return a copy, or raise `BadValue`."""
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            raise _wrong_type("a list of texts", value)
        items = cast("Sequence[object]", value)
        if self.max_items is not None and len(items) > self.max_items:
            raise BadValue(f"may have at most {self.max_items} items, has {len(items)}")
        checked = [_text(item, None, f"[{n}]") for n, item in enumerate(items)]
        _check_total(checked)
        return checked


OptionType = Text | Bool | Int | Float | Bytes | Duration | Select | TextMapping | NumberMapping | TextList


def describe_bounds(type_: OptionType | None) -> str:
    """Return the bounds of a type for people, such as "at least 1, at most 16"; "" if it has none."""
    match type_:
        case Int(least, most) | Float(least, most):
            return _bounds(least, most, _plain)
        case Bytes(least, most):
            return _bounds(least, most, format_bytes)
        case Duration(least, most):
            return _bounds(least, most, format_duration)
        case Text(allowed=[*allowed]) if allowed:
            return f"like {_either(allowed)}"
        case _:
            return ""


def whole_number(value: object) -> int:
    """Return a whole number of any numeric type as an int, or raise `BadValue`. A bool is not a number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        number = operator.index(cast("SupportsIndex", None if isinstance(value, bool) else value))
    except TypeError:
        raise _wrong_type("a whole number", value) from None
    _check_bounds(number, _INT_MINIMUM, _INT_MAXIMUM)
    return number


def parse_bytes(text: str) -> int:
    """Return the number of bytes of text such as ``"4 GiB"`` or ``"1e9"``, or raise `BadValue`."""
    match = _BYTES.fullmatch(text) if len(text) <= 64 else None
    if match is None:
        raise BadValue(f"must be a number of bytes or text such as '4 GiB', is {_shown(text)}")
    number, unit = match.groups()
    bytes_ = (int(number) if number.isdigit() else float(number)) * _UNITS[(unit or "").lower()]
    return whole_number(round(bytes_))


def check_pattern(pattern: str) -> None:
    """Raise `BadValue` if this is no regular expression for `Text`."""
    try:
        re.compile(pattern)
        _matcher(pattern)
    except (re.error, RecursionError, OverflowError, ValueError) as error:
        raise BadValue(f"is no regular expression that can be used: {error}") from None


@functools.lru_cache(256)
def _matcher(pattern: str) -> Callable[[str], object]:
    """Return what tells whether a whole text matches.

    Where pydantic is installed, as in the services, the time grows with the length of the text and no faster: people
    choose texts with which Python's own `re` would take hours.
    """
    try:
        from pydantic_core import SchemaError, SchemaValidator, core_schema
    except ImportError:
        return re.compile(pattern).fullmatch
    schema = core_schema.str_schema(pattern=rf"\A(?:{pattern})\z", regex_engine="rust-regex")
    try:
        return SchemaValidator(schema).isinstance_python
    except SchemaError as error:
        raise ValueError(str(error).rpartition("\n")[2].removeprefix("error: ")) from None


def _like(text: str, pattern: str) -> bool:
    """Whether a text is like a pattern in which ``*`` stands for any text; nothing else in it has a meaning."""
    return fnmatch.fnmatchcase(text, re.sub(r"[\[?]", r"[\g<0>]", pattern))


def _either(patterns: Sequence[str]) -> str:
    return " or ".join(patterns)


def _folded(name: str) -> str:
    return name.upper().replace("-", "_")


def _is_number(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= 64 and _NUMBER.fullmatch(value) is not None


def _text(value: object, max_bytes: int | None, path: str = "") -> str:
    if not isinstance(value, str):
        raise _wrong_type("text", value, path)
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise BadValue(f"must be text that UTF-8 can express, is {_shown(value)}", path) from None
    if max_bytes is not None and size > max_bytes:
        raise BadValue(f"may have at most {max_bytes} bytes, has {size}", path)
    if "\0" in value:
        raise BadValue("must not contain a zero byte", path)
    return value


def _number(value: object, path: str = "") -> float:
    try:
        # Python would take True for 1, and read text.
        number = float(cast("SupportsFloat", None if isinstance(value, bool | str | bytes | bytearray) else value))
    except (TypeError, ValueError, OverflowError):
        raise _wrong_type("a number", value, path) from None
    if not math.isfinite(number):
        raise BadValue(f"must be finite, is {number}", path)
    return number


def _mapping(value: object, what: str, max_entries: int | None) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise _wrong_type(f"a mapping of {what}", value)
    items = cast("Mapping[object, object]", value)
    if max_entries is not None and len(items) > max_entries:
        raise BadValue(f"may have at most {max_entries} keys, has {len(items)}")
    return {_key(key): item for key, item in items.items()}


def _key(key: object) -> str:
    path = f": key {_shown(key)}"
    text = _text(key, None, path)
    if not _KEY.fullmatch(text):
        raise BadValue("must not be empty and must not contain '='", path)
    return text


def _item(key: str, item: object) -> str:
    # Many people write a number as the value of a variable: {"OMP_NUM_THREADS": 1}. It may be 1.0 on its way.
    if isinstance(item, int | float) and not isinstance(item, bool):
        item = _plain(item)
    return _text(item, None, f"[{_shown(key)}]")


def _check_total(texts: Sequence[str]) -> None:
    if (total := sum(len(text.encode()) for text in texts)) > _MAX_BYTES:
        raise BadValue(f"may have at most {_MAX_BYTES} bytes altogether, has {total}")


def _plain(number: float) -> str:
    return f"{number:.15g}" if isinstance(number, float) else str(number)


def _bounds(minimum: Number | None, maximum: Number | None, shown: Callable[[Number], str]) -> str:
    least = [f"at least {shown(minimum)}"] if minimum else []
    most = [] if maximum is None else [f"at most {shown(maximum)}"]
    return ", ".join(least + most)


def _check_bounds(
    number: Number, minimum: Number | None, maximum: Number | None, shown: Callable[[Number], str] = _plain
) -> None:
    if minimum is not None and number < minimum:
        raise BadValue(f"must be at least {shown(minimum)}, is {shown(number)}")
    if maximum is not None and number > maximum:
        raise BadValue(f"must be at most {shown(maximum)}, is {shown(number)}")


def _same(choice: OptionValue, value: object) -> bool:
    # True equals 1 for Python, but not for people.
    return choice == value and isinstance(choice, bool) == isinstance(value, bool)


def _wrong_type(wanted: str, value: object, path: str = "") -> BadType:
    return BadType(f"must be {wanted}, is {_shown(value)} ({type(value).__name__})", path)


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
