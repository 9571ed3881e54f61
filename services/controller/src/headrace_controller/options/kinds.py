"""Kinds of options: which values each takes, and how it is told to clients."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from headrace.v1 import options_service_pb2 as pb
from headrace_controller.model import OptionValue

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_BYTES = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]i?|)b?\s*", re.IGNORECASE)


class BadValueError(ValueError):
    """A value is not of its option's kind; the message says what is."""


class Kind(Protocol):
    """Which values an option takes."""

    def check(self, value: object) -> OptionValue:
        """Returns the value as it is kept, or raises `BadValueError`."""
        ...

    def describe(self, option: pb.Option) -> None:
        """Fills in the type."""
        ...


@dataclass(frozen=True, slots=True)
class Text:
    """Text."""

    max_bytes: int = 1024

    def check(self, value: object) -> OptionValue:
        if not isinstance(value, str):
            raise BadValueError(f"must be text, not {_shown(value)}")
        if len(value.encode()) > self.max_bytes:
            raise BadValueError(f"must have at most {self.max_bytes} bytes, has {len(value.encode())}")
        if "\0" in value:
            raise BadValueError("must not contain a zero byte")
        return value

    def describe(self, option: pb.Option) -> None:
        option.string_type.max_bytes = self.max_bytes


@dataclass(frozen=True, slots=True)
class Bool:
    """True or false."""

    def check(self, value: object) -> OptionValue:
        if not isinstance(value, bool):
            raise BadValueError(f"must be true or false, not {_shown(value)}")
        return value

    def describe(self, option: pb.Option) -> None:
        option.bool_type.SetInParent()


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number within bounds."""

    minimum: int | None = None
    maximum: int | None = None

    def check(self, value: object) -> OptionValue:
        number = _number(value)
        if number != int(number):
            raise BadValueError(f"must be a whole number, not {_shown(value)}")
        _within(number, self.minimum, self.maximum)
        return int(number)

    def describe(self, option: pb.Option) -> None:
        option.int_type.CopyFrom(pb.IntType(minimum=self.minimum, maximum=self.maximum))


@dataclass(frozen=True, slots=True)
class Float:
    """A number within bounds."""

    minimum: float | None = None
    maximum: float | None = None

    def check(self, value: object) -> OptionValue:
        number = _number(value)
        _within(number, self.minimum, self.maximum)
        return number

    def describe(self, option: pb.Option) -> None:
        option.float_type.CopyFrom(pb.FloatType(minimum=self.minimum, maximum=self.maximum))


@dataclass(frozen=True, slots=True)
class Select:
    """One of a list."""

    choices: tuple[str, ...]

    def check(self, value: object) -> OptionValue:
        if not isinstance(value, str) or value not in self.choices:
            raise BadValueError(f"must be one of {', '.join(self.choices)}; not {_shown(value)}")
        return value

    def describe(self, option: pb.Option) -> None:
        option.select_type.choices.extend(self.choices)


@dataclass(frozen=True, slots=True)
class Bytes:
    """A number of bytes, or text such as "4 GiB"."""

    minimum: int | None = None
    maximum: int | None = None

    def check(self, value: object) -> OptionValue:
        number = _parse_bytes(value) if isinstance(value, str) else _number(value)
        if number != int(number):
            raise BadValueError(f"must be a whole number of bytes, not {_shown(value)}")
        _within(number, self.minimum, self.maximum)
        return int(number)

    def describe(self, option: pb.Option) -> None:
        option.bytes_type.CopyFrom(pb.BytesType(minimum=self.minimum, maximum=self.maximum))


@dataclass(frozen=True, slots=True)
class TextMapping:
    """Keys with values, all text."""

    max_entries: int = 128
    max_bytes: int = 32768
    key_pattern: str = r"[^=\0]+"

    def check(self, value: object) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise BadValueError(f"must be a mapping of text to text, not {_shown(value)}")
        items = {str(key): item for key, item in value.items()}
        if len(items) > self.max_entries:
            raise BadValueError(f"must have at most {self.max_entries} keys, has {len(items)}")
        checked = {key: self._item(key, item) for key, item in items.items()}
        if sum(len(key.encode()) + len(item.encode()) for key, item in checked.items()) > self.max_bytes:
            raise BadValueError(f"must have at most {self.max_bytes} bytes in all")
        return checked

    def _item(self, key: str, item: object) -> str:
        if not re.fullmatch(self.key_pattern, key):
            raise BadValueError(f"has the key {_shown(key)}, which is no name")
        if not isinstance(item, str) or "\0" in item:
            raise BadValueError(f"must have text for {_shown(key)}, not {_shown(item)}")
        return item

    def describe(self, option: pb.Option) -> None:
        option.mapping_type.max_entries = self.max_entries


@dataclass(frozen=True, slots=True)
class Resources(TextMapping):
    """Names of Dask resources with how much of each a worker has."""

    def check(self, value: object) -> dict[str, str]:
        if isinstance(value, Mapping):
            value = {key: str(item) if isinstance(item, int | float) else item for key, item in value.items()}
        checked = TextMapping.check(self, value)
        for key, item in checked.items():
            try:
                float(item)
            except ValueError:
                raise BadValueError(f"must have a number for {key[:40]!r}, not {item[:40]!r}") from None
        return checked


@dataclass(frozen=True, slots=True)
class TextList:
    """A list of texts, such as a command."""

    max_items: int = 128

    def check(self, value: object) -> OptionValue:
        if not isinstance(value, list):
            raise BadValueError(f"must be a list of texts, not {_shown(value)}")
        items: list[object] = list(value)
        if len(items) > self.max_items:
            raise BadValueError(f"must have at most {self.max_items} items, has {len(items)}")
        text = Text(max_bytes=4096)
        return [str(text.check(item)) for item in items]

    def describe(self, option: pb.Option) -> None:
        option.list_type.max_items = self.max_items


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadValueError(f"must be a number, not {_shown(value)}")
    return value


def _within(number: float, minimum: float | None, maximum: float | None) -> None:
    if minimum is not None and number < minimum:
        raise BadValueError(f"must be at least {minimum}, is {number:.15g}")
    if maximum is not None and number > maximum:
        raise BadValueError(f"must be at most {maximum}, is {number:.15g}")


def _parse_bytes(text: str) -> float:
    if not (match := _BYTES.fullmatch(text[:64])):
        raise BadValueError(f"must be a number of bytes or text such as '4 GiB', not {_shown(text)}")
    return round(float(match[1]) * _UNITS[match[2].lower()])


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
