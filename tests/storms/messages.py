"""Random messages: of each type what it may hold, what it hardly may, and bytes that are no message."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_DEPTH = 6
_INTEGERS = (0, 1, -1, 2, 7, 1000, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 2**53 + 1)
_RANGES = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}
_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.1, 1e-320, 1e308, -1e308, float("inf"), float("-inf"), float("nan"))
_TEXTS = (
    "",
    " ",
    "a",
    "default",
    "clusters/",
    "clusters/~",
    "clusters/~mine",
    "clusters/../users/bob",
    "clusters/cnosuchcluster",
    "clusters/cnosuchcluster/workers/default-1-abcdef",
    "users/-",
    "users/ann",
    "users/bob",
    "users/ann/apiTokens/x",
    "groups/admins",
    "worker_cores",
    "environment",
    "1 GiB",
    "0-0",
    "1-1",
    "9223372036854775807-9223372036854775807",
    "99999999999999999999",
    "eyJhbGciOiJub25lIn0.e30.",
    "\x00",
    "a\r\nb: c",
    "\x1b[31m",
    "%s%n{0}{__class__}",
    "$(id)",
    "../../../etc/passwd",
    "\u202e\ufeff\u0301",
    "😀" * 20,
    "é" * 64,
    "İstanbul ﬁ ß",
    "-",
    "~",
    "*",
    "true",
    "null",
    "١٢٣",
)


_NAMES = {"name", "names", "parent", "process", "scheduler_address", "dashboard_address", "etag", "page_token"}
"""Fields that are hardly ever right by chance."""

_LEFT_OUT = {"headrace.internal.v1.SessionRequest.closing"}
"""What would end the very cluster that the calls are about."""


class Messages:
    """Makes messages. `known` are texts that mean something to the services: names, etags, tokens. It may change."""

    def __init__(self, chance: random.Random, known: Sequence[str]) -> None:
        self._chance = chance
        self._known = known

    def serialised(self, type_: Descriptor) -> bytes:
        """A message on the wire; one in six is damaged or was never one."""
        content = self.message(type_).SerializeToString()
        return content if self._chance.random() > 1 / 6 else self._damaged(content)

    def message(self, type_: Descriptor, depth: int = 0) -> Message:
        made = GetMessageClass(type_)()
        # Some leave nearly everything out, which is what callers do; others set all.
        share = self._chance.choice((0.15, 0.5, 0.9)) / (1 + depth / 2)
        chosen = {oneof.name: self._chance.choice(oneof.fields) for oneof in type_.oneofs}
        for field in type_.fields:
            others = field.containing_oneof is not None and chosen[field.containing_oneof.name] is not field
            if others or field.full_name in _LEFT_OUT:
                continue
            if self._chance.random() < (0.95 if field.name in _NAMES or _required(field) else share):
                self._set(made, field, depth)
        return made

    def _set(self, made: Message, field: FieldDescriptor, depth: int) -> None:
        inner = field.message_type
        if inner is not None and depth >= _DEPTH:
            return
        if inner is not None and inner.GetOptions().map_entry:
            entries: Any = getattr(made, field.name)
            key, value = inner.fields_by_name["key"], inner.fields_by_name["value"]
            for _ in range(self._count()):
                if value.message_type is None:
                    entries[self._scalar(key)] = self._scalar(value)
                else:
                    entries[self._scalar(key)].CopyFrom(self.message(value.message_type, depth + 1))
        elif field.is_repeated:
            values: Any = getattr(made, field.name)
            for _ in range(self._count()):
                values.append(self._scalar(field) if inner is None else self.message(inner, depth + 1))
        elif inner is None:
            setattr(made, field.name, self._scalar(field))
        else:
            getattr(made, field.name).CopyFrom(self.message(inner, depth + 1))

    def _count(self) -> int:
        return self._chance.choice((0, 1, 1, 2, 3)) if self._chance.random() > 0.002 else 1500

    def _scalar(self, field: FieldDescriptor) -> Any:
        chance = self._chance
        match field.type:
            case FieldDescriptor.TYPE_STRING:
                return chance.choice(self._known) if field.name in _NAMES and chance.random() < 0.6 else self.text()
            case FieldDescriptor.TYPE_BYTES:
                return chance.randbytes(chance.choice((0, 1, 16, 300)))
            case FieldDescriptor.TYPE_BOOL:
                return chance.random() < 0.5
            case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
                return chance.choice((*_FLOATS, chance.uniform(-1e6, 1e6)))
            case FieldDescriptor.TYPE_ENUM:
                values: Any = field.enum_type
                numbers = [value.number for value in values.values]
                return chance.choice([*numbers, *numbers, -1, 99, 2**31 - 1])
            case kind:
                least, most = _RANGES[kind]
                return chance.choice([number for number in _INTEGERS if least <= number <= most])

    def text(self) -> str:
        """A text: known, strange, changed or long."""
        chance = self._chance
        kind = chance.random()
        if kind < 0.45:
            return chance.choice(self._known)
        if kind < 0.85:
            return chance.choice(_TEXTS)
        if kind < 0.97:
            known = chance.choice(self._known)
            at = chance.randrange(len(known) + 1)
            return known[:at] + chance.choice(_TEXTS) + known[at + chance.randrange(3) :]
        return chance.choice("aé/\x01") * chance.choice((65, 257, 5000, 70_000 if chance.random() < 0.05 else 1025))

    def _damaged(self, content: bytes) -> bytes:
        chance = self._chance
        match chance.randrange(5):
            case 0:
                return chance.randbytes(chance.randrange(200))
            case 1:
                return content[: chance.randrange(len(content) + 1)]
            case 2:  # nested more deeply than any parser goes
                depth = chance.choice((90, 101, 3000))
                return bytes([chance.choice((0x0A, 0x12, 0x0B, 0x1B))]) * depth
            case 3:  # a field with a length that is none
                return content + b"\x0a\xff\xff\xff\xff\x0f"
            case _:
                damaged = bytearray(content or b"\x08")
                for _ in range(chance.randrange(1, 8)):
                    damaged[chance.randrange(len(damaged))] = chance.randrange(256)
                return bytes(damaged)


def _required(field: FieldDescriptor) -> bool:
    options: Any = field.GetOptions()
    return field_behavior_pb2.REQUIRED in options.Extensions[field_behavior_pb2.field_behavior]
