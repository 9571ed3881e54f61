"""Options between protos and Python: their values and their types, in both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import cast

from google.protobuf.message import Message

from headrace.option_types import (
    BadType,
    Bool,
    Bytes,
    Choice,
    Duration,
    Float,
    Int,
    NumberMapping,
    OptionType,
    OptionValue,
    Select,
    Text,
    TextList,
    TextMapping,
)
from headrace.v1 import option_value_pb2 as values_pb
from headrace.v1 import options_service_pb2 as pb


def value_to_proto(value: object) -> values_pb.OptionValue:
    """Return a checked value as the contract carries it.

    Raises
    ------
    BadType
        The contract carries no such values; a value that its type has checked is never refused.
    """
    match value:
        case bool():
            return values_pb.OptionValue(bool_value=value)
        case str():
            return values_pb.OptionValue(string_value=value)
        case int() if -(2**63) <= value < 2**63:
            return values_pb.OptionValue(int_value=value)
        case float():
            return values_pb.OptionValue(double_value=value)
        case _:
            return _container(value)


def _container(value: object) -> values_pb.OptionValue:
    try:
        if isinstance(value, list | tuple):
            return values_pb.OptionValue(list_value=values_pb.TextList(items=cast("list[str]", value)))
        if isinstance(value, Mapping):
            entries = cast("dict[str, str] | dict[str, float]", value)
            if all(isinstance(item, str) for item in entries.values()):
                texts = values_pb.TextMapping(entries=cast("dict[str, str]", entries))
                return values_pb.OptionValue(mapping_value=texts)
            numbers = values_pb.NumberMapping(entries=cast("dict[str, float]", entries))
            return values_pb.OptionValue(number_mapping_value=numbers)
    except (TypeError, ValueError):
        pass
    raise BadType(f"must be a value that an option can have, is {value!r:.60} ({type(value).__name__})")


def value_from_proto(proto: values_pb.OptionValue) -> OptionValue | None:
    """Return the value, or None if none is set or this version does not know its type."""
    match proto.WhichOneof("value"):
        case "list_value":
            return list(proto.list_value.items)
        case "mapping_value":
            return dict(proto.mapping_value.entries)
        case "number_mapping_value":
            return dict(proto.number_mapping_value.entries)
        case None:
            return None
        case kind:
            return cast("OptionValue", getattr(proto, kind))


_TYPE_FIELDS: Mapping[type[OptionType], str] = {
    Text: "string_type",
    Bool: "bool_type",
    Int: "int_type",
    Float: "float_type",
    Select: "select_type",
    TextMapping: "mapping_type",
    Bytes: "bytes_type",
    Duration: "duration_type",
    TextList: "list_type",
    NumberMapping: "number_mapping_type",
}
"""Types with their fields in Option.type. The attributes of a type are named like the fields of its proto."""


def set_type(option: pb.Option, type_: OptionType) -> None:
    """Set the type of an option."""
    proto: Message = getattr(option, _TYPE_FIELDS[type(type_)])
    proto.SetInParent()
    if isinstance(type_, Select):
        choices = [pb.Choice(value=value_to_proto(choice.value), label=choice.label) for choice in type_.choices]
        option.select_type.choices.extend(choices)
        return
    for field in fields(type_):
        bound = getattr(type_, field.name)
        if isinstance(bound, tuple):
            getattr(proto, field.name).extend(bound)
        elif bound is not None:
            setattr(proto, field.name, bound)


def get_type(option: pb.Option) -> OptionType | None:
    """Return the type of an option, or None if this version does not know it."""
    name = option.WhichOneof("type")
    if name == "select_type":
        return Select(tuple(_choices(option.select_type)))
    for cls, field in _TYPE_FIELDS.items():
        if field == name:
            proto: Message = getattr(option, field)
            bounds = {descriptor.name: _bound(bound) for descriptor, bound in proto.ListFields()}
            make = cast("Callable[..., OptionType]", cls)
            return make(**{attribute.name: bounds.get(attribute.name) for attribute in fields(cls)})
    return None


def _bound(bound: object) -> object:
    return (
        tuple(cast("Iterable[object]", bound)) if isinstance(bound, Sequence) and not isinstance(bound, str) else bound
    )


def _choices(type_: pb.SelectType) -> list[Choice]:
    found = [(value_from_proto(choice.value), choice.label) for choice in type_.choices]
    return [Choice(value, label) for value, label in found if value is not None]
