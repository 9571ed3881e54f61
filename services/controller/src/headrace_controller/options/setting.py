"""What new options stand for, as the policy says with `sets`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.option_types import BadValue, Bool, OptionValue, Select, TextMapping
from headrace_controller.options.catalogue import Option
from headrace_controller.options.variables import PREFIX, VARIABLES

_VALUE = "{value}"


@dataclass(frozen=True, slots=True)
class Setting:
    """What one option sets: from the key of another option, or ``environment.NAME``, to a template or to values."""

    option: str
    targets: Mapping[str, str | Mapping[str, object]]

    def of(self, value: OptionValue) -> dict[str, object]:
        """Return what follows from a value. An empty text, list or mapping sets nothing."""
        if value in ("", [], {}):
            return {}
        found: dict[str, object] = {}
        for target, template in self.targets.items():
            if not isinstance(template, str):
                if (name := _text(value)) in template:
                    found[target] = template[name]
            elif template == _VALUE and target.startswith(PREFIX):
                found[target] = _text(value)
            elif template == _VALUE:
                found[target] = value
            else:
                found[target] = template.replace(_VALUE, _text(value))
        return found


@dataclass(frozen=True, slots=True)
class Settings:
    """All that options of a profile set. A function of the value of each option."""

    settings: Sequence[Setting]

    def __call__(self, values: Mapping[str, OptionValue]) -> dict[str, object]:
        found: dict[str, object] = {}
        for setting in self.settings:
            found |= setting.of(values[setting.option])
        return found


def make_setting(
    key: str, sets: Mapping[str, str | Mapping[str | bool | int | float, object]], variants: Sequence[Option]
) -> Setting:
    """Return what an option sets; raise `BadValue`. `variants` is the option as the groups of users have it."""
    if any(isinstance(option.type, TextMapping) for option in variants):
        for target, template in sets.items():
            if template != _VALUE or target.startswith(PREFIX):
                raise BadValue(f"sets {target}: a mapping is passed on whole, as '{_VALUE}' to another mapping")
    return Setting(
        key,
        {
            target: template if isinstance(template, str) else _by_value(template, variants)
            for target, template in sets.items()
        },
    )


def check_setting(setting: Setting, option: Option, others: Mapping[str, Option]) -> None:
    """Raise `BadValue` if a value that is known beforehand does not fit what it sets. `others` may be set."""
    for target in setting.targets:
        if not target.startswith(PREFIX) and target not in others:
            raise BadValue(f"sets {target!r}: there is no such option besides those that the profile declares")
    for value in (option.default, *(value for value, _ in _choices(option))):
        for target, found in setting.of(value).items():
            try:
                if target.startswith(PREFIX):
                    VARIABLES.check({target.removeprefix(PREFIX): found})
                else:
                    others[target].type.check(found)
            except BadValue as error:
                raise BadValue(f"sets {target}{error.path}, which {error}") from error


def _by_value(template: Mapping[str | bool | int | float, object], variants: Sequence[Option]) -> dict[str, object]:
    """Return a template with the texts of values as keys; an administrator may write their labels."""
    known = {
        _text(name): _text(value) for option in variants for value, label in _choices(option) for name in (label, value)
    }
    if not known:
        raise BadValue("can set values by a mapping only if it has choices or is a boolean")
    found: dict[str, object] = {}
    for name, item in template.items():
        if _text(name) not in known:
            raise BadValue(f"sets something for {name!r}, which is none of its values")
        found[known[_text(name)]] = item
    return found


def _choices(option: Option) -> list[tuple[OptionValue, str]]:
    match option.type:
        case Select(choices):
            return [(choice.value, choice.label) for choice in choices]
        case Bool():
            return [(True, "true"), (False, "false")]
        case _:
            return []


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.15g}" if isinstance(value, float) else str(value)
