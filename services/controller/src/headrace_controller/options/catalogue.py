"""Options that users may set, and the check of given values against them. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from headrace.errors import Violation
from headrace.option_types import BadValue, OptionType, OptionValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option.

    Attributes
    ----------
    description
        One sentence for people, with the unit.
    default
        Value if none is given. A false one (0, "", {}) means "nothing special" and is not stored with clusters.
    per_group
        Whether it may differ between the worker groups of a cluster.
    """

    key: str
    label: str
    description: str
    type: OptionType
    default: OptionValue
    per_group: bool = False


class Options:
    """Options by key, in the order to show them.

    Checked values are stored with a cluster, so that later changes of defaults do not change it.
    """

    def __init__(self, options: Iterable[Option]) -> None:
        self._options = {option.key: option for option in options}

    def __iter__(self) -> Iterator[Option]:
        return iter(self._options.values())

    def check(
        self, given: Mapping[str, object], field: str, *, for_group: bool = False
    ) -> tuple[dict[str, OptionValue], list[Violation]]:
        """Return the checked values, and what is wrong. Missing options take their defaults, but not `for_group`."""
        defaults = () if for_group else self
        values = {option.key: option.default for option in defaults if option.default}
        violations: list[Violation] = []
        for key, value in given.items():
            try:
                values[key] = self._option(key, for_group=for_group).type.check(value)
            except BadValue as error:
                violations.append(Violation(f"{field}.{key[:80]}{error.path}", str(error)))
        return values, violations

    def _option(self, key: str, *, for_group: bool) -> Option:
        option = self._options.get(key)
        if option is None:
            close = difflib.get_close_matches(key[:80], self._options, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(self._options)}"
            raise BadValue(f"there is no such option; {hint}")
        if for_group and not option.per_group:
            raise BadValue("is the same for all worker groups of a cluster; set it in spec.options")
        return option
