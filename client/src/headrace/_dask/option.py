"""An option of a new cluster, with its value."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from enum import Enum, auto

from headrace.durations import format_duration
from headrace.errors import InvalidRequest, Violation, WrongType
from headrace.option_protos import get_type, value_from_proto
from headrace.option_types import BadType, BadValue, Bytes, Duration, TextList, TextMapping, describe_bounds
from headrace.sizes import format_bytes
from headrace.v1 import options_service_pb2

Listener = Callable[[object], None]


class Origin(Enum):
    """Where the value of an option comes from."""

    DEFAULT = auto()
    CONFIGURED = auto()
    GIVEN = auto()


class Option:
    """An option and its value."""

    def __init__(self, proto: options_service_pb2.Option) -> None:
        self.proto = proto
        self.key = proto.key
        self.label = proto.label or proto.key
        self.description = proto.description
        self.type = get_type(proto)
        self.value: object = value_from_proto(proto.default_value)
        if self.value is None and isinstance(self.type, TextMapping | TextList):
            self.value = {} if isinstance(self.type, TextMapping) else []
        self._before = copy(self.value)
        self.origin = Origin.DEFAULT
        self.listeners: list[Listener] = []

    def set(self, value: object, origin: Origin = Origin.GIVEN) -> None:
        """Check a value and keep it. A type that this client does not know takes every value."""
        self.value = value if self.type is None else self._check(value)
        self._before = copy(self.value)
        self.origin = origin
        for listener in self.listeners:
            listener(self.value)

    def take_in(self) -> None:
        """Check and keep what the user has changed within a mapping or a list."""
        if self.value != self._before:
            self.set(self.value)

    def __str__(self) -> str:
        """The value as people write it: "4 GiB", "2 h"."""
        match self.type, self.value:
            case Bytes(), int(number):
                return format_bytes(number)
            case Duration(), float(seconds):
                return format_duration(seconds)
            case _:
                return str(self.value)

    @property
    def help(self) -> str:
        """What it is, and its bounds."""
        bounds = describe_bounds(self.type)
        return f"{self.description} ({bounds})".lstrip() if bounds else self.description

    @property
    def literal(self) -> str:
        """The value as a program writes it: "'4 GiB'"."""
        text = str(self)
        return repr(text if isinstance(self.type, Bytes | Duration) and not text.endswith("bytes") else self.value)

    def _check(self, value: object) -> object:
        assert self.type is not None
        try:
            return self.type.check(value)
        except BadValue as error:
            cls = WrongType if isinstance(error, BadType) else InvalidRequest
            raise cls.of(Violation(f"{self.key}{error.path}", str(error))) from None
