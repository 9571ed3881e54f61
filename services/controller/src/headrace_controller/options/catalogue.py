"""Options that users may set, the check of given values against them, and what follows from them. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from headrace.errors import InvalidRequest, Violation
from headrace.option_types import BadValue, OptionType, OptionValue
from headrace_controller.options.variables import ENVIRONMENT, PREFIX, VARIABLES

Consequences = Callable[[Mapping[str, OptionValue]], Mapping[str, object]]
"""From the value of each option to values of other options, and of environment variables as ``environment.NAME``."""


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

    Parameters
    ----------
    hidden
        Options that users cannot give, because they follow from others.
    refusal
        Why there are none for somebody.
    """

    def __init__(
        self,
        options: Iterable[Option],
        *,
        hidden: Iterable[Option] = (),
        consequences: Consequences | None = None,
        refusal: InvalidRequest | None = None,
    ) -> None:
        self._options = {option.key: option for option in options}
        self._all = {option.key: option for option in hidden} | self._options
        self._consequences = consequences
        self._refusal = refusal

    def __iter__(self) -> Iterator[Option]:
        if self._refusal is not None:
            raise self._refusal
        return iter(self._options.values())

    def check(
        self, given: Mapping[str, object], field: str, *, cluster: Mapping[str, OptionValue] | None = None
    ) -> tuple[dict[str, OptionValue], list[Violation]]:
        """Return the checked values with what follows from them, and what is wrong.

        Parameters
        ----------
        cluster
            Values of the cluster, if `given` are those of a worker group. Only a cluster's own values take defaults.
        """
        if self._refusal is not None:
            return {}, _violations(self._refusal)
        for_group = cluster is not None
        defaults = () if for_group else self._all.values()
        values = {option.key: option.default for option in defaults if option.default}
        violations: list[Violation] = []
        for key, value in given.items():
            try:
                values[key] = self._option(key, for_group=for_group).type.check(value)
            except BadValue as error:
                violations.append(Violation(f"{field}.{key[:80]}{error.path}", str(error)))
        if violations or self._consequences is None or (for_group and not given):
            return values, violations
        return self._with_consequences(values, self._consequences, field, cluster)

    def _option(self, key: str, *, for_group: bool) -> Option:
        option = self._options.get(key)
        if option is None:
            close = difflib.get_close_matches(key[:80], self._options, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(self._options)}"
            raise BadValue(f"there is no such option; {hint}")
        if for_group and not option.per_group:
            raise BadValue("is the same for all worker groups of a cluster; set it in spec.options")
        return option

    def _with_consequences(
        self,
        values: dict[str, OptionValue],
        consequences: Consequences,
        field: str,
        cluster: Mapping[str, OptionValue] | None,
    ) -> tuple[dict[str, OptionValue], list[Violation]]:
        before = {**(cluster or {}), **values}
        try:
            found = consequences({key: before.get(key, option.default) for key, option in self._options.items()})
        except InvalidRequest as error:  # the administrator's Python
            return values, _violations(error)
        violations: list[Violation] = []
        for key, value in _with_single_variables(found).items():
            try:
                checked = self._check_consequence(key, value)
                if before.get(key) != checked:
                    values[key] = checked if cluster is None else self._for_group(key, checked)
            except BadValue as error:
                description = f"{error}; this follows from your other options"
                violations.append(Violation(f"{field}.{key[:80]}{error.path}", description))
        for name in cast("Mapping[str, str]", values.get(ENVIRONMENT, {})):
            if PREFIX + name in values or PREFIX + name in before:
                description = "may not be set, because it follows from other options"
                violations.append(Violation(f"{field}.{ENVIRONMENT}[{name!r}]", description))
        return values, violations

    def _check_consequence(self, key: str, value: object) -> OptionValue:
        if key.startswith(PREFIX):
            return VARIABLES.check({key.removeprefix(PREFIX): value}).popitem()[1]
        if key not in self._all:
            raise BadValue("there is no such option")
        return self._all[key].type.check(value)

    def _for_group(self, key: str, value: OptionValue) -> OptionValue:
        if not key.startswith(PREFIX) and not self._all[key].per_group:
            raise BadValue("is the same for all worker groups of a cluster")
        return value


def _violations(error: InvalidRequest) -> list[Violation]:
    """Return what an administrator's Python has raised, to be told beside what else is wrong."""
    return list(error.violations) or [Violation("", error.message)]


def _with_single_variables(found: Mapping[str, object]) -> dict[str, object]:
    """Return each variable under its own key."""
    single = dict(found)
    variables = single.get(ENVIRONMENT)
    if isinstance(variables, Mapping):
        del single[ENVIRONMENT]
        single |= {f"{PREFIX}{name}": value for name, value in cast("Mapping[object, object]", variables).items()}
    return single
