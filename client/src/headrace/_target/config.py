"""Settings of the client: Dask's configuration below ``headrace``, or the environment alone where Dask is missing.

What is not configured there is read below ``gateway``, as dask-gateway has it, with a warning.
"""

from __future__ import annotations

import ast
import functools
import os
import warnings
from collections.abc import Callable, Mapping
from importlib import resources
from string import Formatter
from typing import Any, cast

import yaml

from headrace.durations import parse_duration
from headrace.errors import GatewayWarning, InvalidRequest, Violation

_MAX_SECONDS = 1e9
_Lookup = Callable[[str, str], object]
# Our setting -> the setting of dask-gateway and its default, which counts as not configured.
_OF_DASK_GATEWAY: Mapping[str, tuple[str, object]] = {
    "address": ("address", None),
    "public-address": ("public-address", None),
    "proxy-address": ("proxy-address", None),
    "auth.type": ("auth.type", "basic"),
    "auth.kwargs": ("auth.kwargs", {}),
    "cluster.options": ("cluster.options", {}),
    "http-proxy": ("http-client.proxy", True),
}
_WORDS: Mapping[str, object] = {"true": True, "false": False, "null": None, "none": None}


def get(key: str) -> object:
    """Return the setting ``headrace.<key>``. Templates are filled in from the environment."""
    lookup = _lookup()
    value, default = lookup("headrace", key), _default(key)
    if value == default and key in _OF_DASK_GATEWAY:
        name, its_default = _OF_DASK_GATEWAY[key]
        found = lookup("gateway", name)
        if found is not None and found not in (default, its_default):
            _warn(lookup)
            return fill_in(found, f"gateway.{name}")
    return fill_in(value, f"headrace.{key}")


def get_text(key: str) -> str | None:
    """Return the setting ``headrace.<key>`` as text, or None if it is not set."""
    value = get(key)
    return None if value is None else str(value)


def get_mapping(key: str) -> dict[str, object]:
    """Return the setting ``headrace.<key>`` as a mapping. Templates in its values are filled in."""
    value = get(key) or {}
    if not isinstance(value, Mapping):
        raise InvalidRequest.of(Violation(f"headrace.{key}", f"is {value!r} and must be a mapping"))
    items = cast("Mapping[str, object]", value)
    return {str(name): _fill_in_all(item, f"headrace.{key}.{name}") for name, item in items.items()}


def get_seconds(key: str) -> float:
    """Return the setting ``headrace.<key>`` in seconds."""
    return seconds(get(key), f"headrace.{key}")


def seconds(value: object, what: str) -> float:
    """Return the seconds of 30, "30s", "300ms" or "2h". Errors name `what`."""
    number = parse_duration(str(value))
    if number is None or number > _MAX_SECONDS:
        description = f"is {str(value).strip()!r:.80} and must be a time such as 30, '30s' or '300ms'"
        raise InvalidRequest.of(Violation(what, description))
    return number


def fill_in(value: object, what: str) -> object:
    """Replace ``{NAME}`` in text by the environment variable NAME. Other values are returned unchanged."""
    if not isinstance(value, str):
        return value
    try:
        _check_template(value)
        return value.format_map(os.environ)
    except KeyError as error:
        message = f"is the template {value!r}, but the environment variable {error.args[0]} is not set"
        raise InvalidRequest.of(Violation(what, message)) from None
    except ValueError as error:
        raise InvalidRequest.of(Violation(what, f"is {value!r}, which is not a valid template: {error}")) from None


def _check_template(text: str) -> None:
    for _, name, form, conversion in Formatter().parse(text):
        if name is not None and (form or conversion or not name.isidentifier()):
            raise ValueError("only the name of an environment variable can be between { and }")


def _fill_in_all(value: object, what: str) -> object:
    """Replace templates in text, and in the texts of a list or a mapping."""
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value)
        return {name: _fill_in_all(item, f"{what}.{name}") for name, item in items.items()}
    if isinstance(value, list):
        return [_fill_in_all(item, f"{what}[{n}]") for n, item in enumerate(cast("list[object]", value))]
    return fill_in(value, what)


@functools.cache
def _warn(lookup: _Lookup) -> None:
    """Warn once which settings of dask-gateway are there."""
    found = [
        name
        for name, its_default in _OF_DASK_GATEWAY.values()
        if lookup("gateway", name) not in (None, its_default, {})
    ]
    warnings.warn(
        f"settings of dask-gateway are used where headrace has none: {', '.join(f'gateway.{name}' for name in found)}; "
        "rename `gateway` to `headrace` there (in the environment DASK_GATEWAY__ to DASK_HEADRACE__)",
        GatewayWarning,
        stacklevel=2,
    )


@functools.cache
def _lookup() -> _Lookup:
    try:
        import dask.config as dask_config
    except ImportError:
        return _without_dask
    dask_config.update_defaults(_defaults())

    # A `dask.config.set` around the first import removes the defaults at its end.
    def lookup(section: str, key: str) -> object:
        return dask_config.get(f"{section}.{key}", default=_default(key) if section == "headrace" else None)

    return lookup


def _without_dask(section: str, key: str) -> object:
    variable = f"DASK_{section}__{key.replace('.', '__').replace('-', '_')}".upper()
    if variable not in os.environ:
        return _default(key) if section == "headrace" else None
    text = os.environ[variable]
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


@functools.cache
def _defaults() -> dict[str, object]:
    text = resources.files("headrace").joinpath("headrace.yaml").read_text("utf-8")
    return yaml.safe_load(text)


def _default(key: str) -> object:
    value: Any = _defaults()
    for part in ("headrace", *key.split(".")):
        value = value[part]
    return value
