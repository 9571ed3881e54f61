"""The options of a new cluster, as an object to fill in."""

from __future__ import annotations

import difflib
import html
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from keyword import iskeyword
from typing import Any

from headrace._dask import options_widget
from headrace._dask.option import Option, Origin
from headrace.errors import InvalidRequest, UnknownOption, Violation
from headrace.v1 import options_service_pb2


class Options(MutableMapping[str, Any]):
    """Options of a new cluster, with their defaults. Made by `Gateway.cluster_options`.

    A mapping of all options that this deployment offers you. Each is also an attribute, and in a notebook all of them
    are a form. A value is checked when it is set.

    Raises
    ------
    UnknownOption
        There is no such option. Nothing is changed.
    InvalidRequest
        The option does not take this value (`WrongType` if its type is wrong). Nothing is changed.

    Examples
    --------
    >>> options = gateway.cluster_options()  # doctest: +SKIP
    >>> options.worker_memory = "8 GiB"  # doctest: +SKIP
    >>> cluster = gateway.new_cluster(options)  # doctest: +SKIP
    """

    _options: dict[str, Option]
    _profile: str

    def __init__(self, options: Iterable[options_service_pb2.Option] = (), profile: str = "") -> None:
        object.__setattr__(self, "_options", {proto.key: Option(proto) for proto in options})
        object.__setattr__(self, "_profile", profile)

    def __getitem__(self, key: str) -> Any:
        return self._option(key).value

    def __setitem__(self, key: str, value: object) -> None:
        self._option(key).set(value)

    def __delitem__(self, key: str) -> None:
        raise TypeError("options cannot be removed, only set")

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):
            raise AttributeError(key)
        return self[key]

    def __setattr__(self, key: str, value: object) -> None:
        self[key] = value

    def __delattr__(self, key: str) -> None:
        del self[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def __len__(self) -> int:
        return len(self._options)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(key for key in self._options if key.isidentifier() and not iskeyword(key))]

    def __repr__(self) -> str:
        return f"Options<{', '.join(f'{key}={option.literal}' for key, option in self._options.items())}>"

    def _option(self, key: str) -> Option:
        try:
            return self._options[key]
        except KeyError:
            raise UnknownOption.of(Violation(str(key), f"there is no such option; {self._hint(str(key))}")) from None

    def _hint(self, key: str) -> str:
        if close := difflib.get_close_matches(key, self._options, n=1):
            return f"did you mean {close[0]!r}?"
        return f"there are {', '.join(self._options)}" if self._options else "this deployment has none"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'><b>{html.escape(option.label)}</b></td>"
            f"<td style='text-align:left'><code>{html.escape(f'{key} = {option}')}</code></td>"
            f"<td style='text-align:left'>{html.escape(option.help)}</td></tr>"
            for key, option in self._options.items()
        )
        return f"<h3>Cluster options</h3><table>{rows}</table>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle = {"text/plain": repr(self), "text/html": self._repr_html_()}
        widget = options_widget.form(self._options.values())
        return {**widget._repr_mimebundle_(**kwargs), **bundle} if widget is not None else bundle


def get_profile(options: Options) -> str:
    """Return the profile that the options are of; "" is the default one."""
    return vars(options)["_profile"]


def configure(options: Options, values: Mapping[str, object]) -> None:
    """Set values that come from the configuration, not from the user's program."""
    for key, value in values.items():
        try:
            options._option(key).set(value, Origin.CONFIGURED)  # pyright: ignore[reportPrivateUsage] - attributes are options
        except InvalidRequest as error:
            where = "headrace.cluster.options"
            raise type(error).of(*(Violation(f"{where}.{v.field}", v.description) for v in error.violations)) from None


def get_set(options: Options) -> tuple[dict[str, object], dict[str, object]]:
    """Return the values that were configured, and those that the user gave; defaults are left out."""
    all_options: list[Option] = list(vars(options)["_options"].values())
    for option in all_options:
        option.take_in()
    configured, given = (
        {option.key: option.value for option in all_options if option.origin is origin}
        for origin in (Origin.CONFIGURED, Origin.GIVEN)
    )
    return configured, given


def get_checked(options: Options, values: Mapping[str, object]) -> dict[str, object]:
    """Return other values for some of the options, checked. The options stay unchanged."""
    copy = Options(option.proto for option in vars(options)["_options"].values())
    copy.update(values)
    return get_set(copy)[1]
