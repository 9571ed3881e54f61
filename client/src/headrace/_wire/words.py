"""Enums of the contract as words for people. Values from a newer headrace have words, too."""

from __future__ import annotations

import re

from google.protobuf.descriptor import EnumDescriptor

from headrace.v1 import cluster_pb2
from headrace.v1.enums import ConditionType, EventType


def word(enum: EnumDescriptor, number: int) -> str:
    """Return the name of a value without the enum's prefix, such as "RUNNING".

    "" is an unspecified value, and "UNKNOWN_7" one that this client does not know.
    """
    if (value := enum.values_by_number.get(number)) is None:
        return f"UNKNOWN_{number}"
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.name).upper()
    name = value.name.removeprefix(f"{prefix}_")
    return "" if name == "UNSPECIFIED" else name


def event_type(number: int) -> str:
    """Return an event type as people read it: "WorkersLost", or "Unknown7"."""
    return _camel_case(EventType, word(cluster_pb2.EventType.DESCRIPTOR, number))


def condition_type(number: int) -> str:
    """Return a condition type as people read it: "Reachable", or "Unknown7"."""
    return _camel_case(ConditionType, word(cluster_pb2.ConditionType.DESCRIPTOR, number))


def _camel_case(enum: type[EventType | ConditionType], name: str) -> str:
    return str(enum[name]) if name in enum.__members__ else name.title().replace("_", "")
