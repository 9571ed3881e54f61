"""The choices that an administrator gives to users, as an object to fill in."""

from __future__ import annotations

import difflib
import html
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from keyword import iskeyword
from typing import Any, cast

from google.protobuf import json_format

from headrace._dask import option_types as _option_types
from headrace.errors import UnknownOption, Violation
from headrace.v1 import options_service_pb2

Listener = Callable[[object], None]


class Option:
    """One choice: what it is, and its value."""

    def __init__(self, facts: options_service_pb2.Option) -> None:
        self.key = facts.key
        self.label = facts.label or facts.key
        self.description = facts.description
        self.type = facts.WhichOneof("type") or ""
        self.facts = facts
        self.value = self._default()
        self.changed = False
        self.listeners: list[Listener] = []

    def set(self, value: object) -> None:
        """Checks a value and takes it."""
        self.value = _option_types.check(self.facts, value)
        self.changed = True
        for listener in self.listeners:
            listener(self.value)

    def _default(self) -> object:
        if self.facts.default_value.WhichOneof("kind") is None:
            return {"mapping_type": {}, "list_type": [], "string_type": ""}.get(self.type)
        value = cast("object", json_format.MessageToDict(self.facts.default_value))
        whole = self.type in {"int_type", "bytes_type"} and isinstance(value, float)
        return int(cast("float", value)) if whole else value


class Options(MutableMapping[str, Any]):
    """Options of a new cluster, with their defaults. Made by `Gateway.cluster_options`.

    A mapping of all options that this deployment offers you; each is also an attribute, and in a notebook all of them
    are a form. Values are checked when they are set.

    Examples
    --------
    >>> options = gateway.cluster_options()  # doctest: +SKIP
    >>> options.worker_memory = "8 GiB"  # doctest: +SKIP
    >>> cluster = gateway.new_cluster(options)  # doctest: +SKIP

    Raises
    ------
    UnknownOption
        There is no such option. Nothing is changed.
    InvalidRequest
        The option does not take this value (`WrongType` where its type is wrong). Nothing is changed.
    """

    _options: dict[str, Option]

    def __init__(self, options: Iterable[options_service_pb2.Option] = ()) -> None:
        object.__setattr__(self, "_options", {facts.key: Option(facts) for facts in options})

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
        return f"Options<{', '.join(f'{key}={value!r}' for key, value in self.items())}>"

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
            f"<td style='text-align:left'><code>{html.escape(key)} = {html.escape(repr(option.value))}</code></td>"
            f"<td style='text-align:left'>{html.escape(option.description)}</td></tr>"
            for key, option in self._options.items()
        )
        return f"<h3>Cluster options</h3><table>{rows}</table>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        from headrace._dask.options_widget import form

        bundle = {"text/plain": repr(self), "text/html": self._repr_html_()}
        widget = form(self._options.values())
        return {**widget._repr_mimebundle_(**kwargs), **bundle} if widget is not None else bundle


def changed(options: Options) -> dict[str, object]:
    """What was set, as opposed to what is the default."""
    return {key: option.value for key, option in vars(options)["_options"].items() if option.changed}


def checked(options: Options, values: Mapping[str, object]) -> dict[str, object]:
    """Other values for some of the options, checked; the options stay as they are."""
    copy = Options(option.facts for option in vars(options)["_options"].values())
    copy.update(values)
    return changed(copy)
