"""The options that users may set, and how their values are checked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.errors import Violation
from headrace.v1 import options_service_pb2 as pb
from headrace_controller.model import OptionValue
from headrace_controller.options.kinds import BadValueError, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One choice."""

    key: str
    label: str
    description: str
    kind: Kind
    default: OptionValue
    per_group: bool = False

    def to_proto(self) -> pb.Option:
        """The option as clients see it."""
        option = pb.Option(key=self.key, label=self.label, description=self.description, per_group=self.per_group)
        _fill(option, self.default)
        self.kind.describe(option)
        return option


def _fill(option: pb.Option, value: OptionValue) -> None:
    match value:
        case bool():
            option.default_value.bool_value = value
        case str():
            option.default_value.string_value = value
        case dict():
            option.default_value.struct_value.update(value)
        case list():
            option.default_value.list_value.extend(value)
        case _:
            option.default_value.number_value = value


class Options:
    """The choices of a deployment. Values once checked are kept with a cluster, so later defaults do not change it."""

    def __init__(self, options: Sequence[Option]) -> None:
        self._options = {option.key: option for option in options}

    def check(
        self, given: Mapping[str, object], field: str, *, for_group: bool = False
    ) -> tuple[dict[str, OptionValue], list[Violation]]:
        """Returns the checked values and every violation; without `for_group`, defaults fill in what is left out."""
        # Empty defaults mean "nothing special" and would only make every record and answer longer.
        filled = {} if for_group else self._options
        values = {key: option.default for key, option in filled.items() if option.default}
        violations: list[Violation] = []
        for key, value in given.items():
            try:
                values[key] = self._option(key, for_group=for_group).kind.check(value)
            except BadValueError as error:
                violations.append(Violation(f"{field}.{key[:80]}", str(error)))
        return values, violations

    def _option(self, key: str, *, for_group: bool) -> Option:
        option = self._options.get(key)
        if option is None:
            close = difflib.get_close_matches(key[:80], self._options, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(self._options)}"
            raise BadValueError(f"there is no such option; {hint}")
        if for_group and not option.per_group:
            raise BadValueError("is the same for all groups of a cluster; set it in spec.options")
        return option

    def to_proto(self) -> list[pb.Option]:
        """All options, in the order to show them."""
        return [option.to_proto() for option in self._options.values()]
