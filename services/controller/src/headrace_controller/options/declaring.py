"""From an administrator's settings to options: new ones, and narrower ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from headrace.option_types import (
    BadValue,
    Bool,
    Bytes,
    Choice,
    Duration,
    Float,
    Int,
    OptionType,
    OptionValue,
    Select,
    Text,
    TextMapping,
)
from headrace_controller.options.catalogue import Option
from headrace_controller.policy.option_settings import OptionChange, OptionSettings

_TYPES: Mapping[str, tuple[OptionType, OptionValue]] = {
    "text": (Text(), ""),
    "boolean": (Bool(), False),
    "integer": (Int(), 0),
    "float": (Float(), 0.0),
    "mapping": (TextMapping(), {}),
    "bytes": (Bytes(0), 0),
    "duration": (Duration(), 0.0),
}
"""Type and usual default of a new option."""

_SCALARS: Mapping[type, OptionType] = {str: Text(), bool: Bool(), int: Int(), float: Float()}


def declare(key: str, settings: OptionSettings, change: OptionChange) -> Option:
    """Return a new option, changed for whom it is; raise `BadValue`."""
    kind = settings.type or ""
    if kind == "choice":
        type_, default = _selection(change), None
    else:
        type_, default = _TYPES[kind]
        type_ = _narrowed(type_, change)
    if change.default is not None:
        default = change.default
    elif isinstance(type_, Select):
        default = type_.choices[0].value
    elif change.minimum is not None:
        default = change.minimum
    try:
        default = type_.check(default)
    except BadValue as error:
        raise BadValue(f"the default {error}; set `default`") from error
    return Option(
        key=key,
        label=settings.label or key,
        description=settings.description,
        type=type_,
        default=default,
        per_group=settings.per_group,
    )


def narrow(option: Option, settings: OptionSettings, change: OptionChange) -> Option:
    """Return an option that there is, changed for whom it is; raise `BadValue`."""
    type_ = _narrowed(option.type, change)
    try:
        default = type_.check(option.default if change.default is None else option.type.check(change.default))
    except BadValue as error:
        raise BadValue(f"the default {error}; set `default`") from error
    return replace(
        option,
        type=type_,
        default=default,
        label=settings.label or option.label,
        description=settings.description or option.description,
    )


def merge(settings: OptionSettings, change: OptionChange) -> OptionChange:
    """Return the settings of an option with those of a group in their place."""
    given = {name: getattr(change, name) for name in change.model_fields_set}
    if "choices" in given:
        given = {"minimum": None, "maximum": None, **given}
    elif given.keys() & {"minimum", "maximum"}:
        given = {"choices": None, **given}
    return settings.model_copy(update=given)


def _narrowed(type_: OptionType, change: OptionChange) -> OptionType:
    type_ = _bounded(type_, change)
    if change.pattern is not None or change.max_length is not None:
        type_ = _limited(type_, change)
    if change.allow:
        if not isinstance(type_, Text) or type_.allowed:
            raise BadValue("cannot have `allow`: that is for texts of which all are allowed otherwise")
        type_ = replace(type_, allowed=tuple(change.allow))
    if change.deny:
        type_ = _denying(type_, tuple(change.deny))
    if change.choices is None:
        return type_
    return Select(tuple(Choice(type_.check(value), label) for label, value in _labelled(change)))


def _bounded(type_: OptionType, change: OptionChange) -> OptionType:
    bounds = {"minimum": change.minimum, "maximum": change.maximum}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    if not given:
        return type_
    if not isinstance(type_, Int | Float | Bytes | Duration):
        raise BadValue("has no minimum and no maximum, because it is not a number")
    narrower = replace(type_, **{name: type_.check(bound) for name, bound in given.items()})
    if narrower.minimum is not None and narrower.maximum is not None and narrower.minimum > narrower.maximum:
        raise BadValue("has a minimum that is more than its maximum")
    return narrower


def _limited(type_: OptionType, change: OptionChange) -> OptionType:
    if not isinstance(type_, Text):
        raise BadValue("has no pattern and no maximum length, because it is not a text")
    most = type_.max_bytes if change.max_length is None else change.max_length
    return replace(type_, max_bytes=most, pattern=type_.pattern if change.pattern is None else change.pattern)


def _denying(type_: OptionType, denied: tuple[str, ...]) -> OptionType:
    match type_:
        case TextMapping():
            return replace(type_, denied_keys=(*(type_.denied_keys or ()), *denied))
        case Text():
            return replace(type_, denied=(*(type_.denied or ()), *denied))
        case _:
            raise BadValue("has nothing to deny, because it is neither a text nor a mapping of texts")


def _selection(change: OptionChange) -> Select:
    choices: list[Choice] = []
    for label, value in _labelled(change):
        type_ = _SCALARS.get(type(value))
        if type_ is None:
            raise BadValue(f"has the choice {label!r}, which is neither text nor a number nor true or false")
        choices.append(Choice(type_.check(value), label))
    return Select(tuple(choices))


def _labelled(change: OptionChange) -> list[tuple[str, object]]:
    given = change.choices or []
    return list(given.items()) if isinstance(given, dict) else [(str(value), value) for value in given]
