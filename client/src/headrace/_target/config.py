"""Settings of the client: Dask's configuration below ``headrace``, or the environment alone where Dask is missing."""

from __future__ import annotations

import ast
import functools
import math
import os
import re
from collections.abc import Callable, Mapping
from importlib import resources
from typing import cast

import yaml

from headrace.errors import InvalidRequest, Violation

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_MAX_SECONDS = 1e9
_WORDS: Mapping[str, object] = {"true": True, "false": False, "null": None, "none": None}


def get(key: str) -> object:
    """Return the setting ``headrace.<key>``. Templates are filled in from the environment."""
    return fill_in(_lookup()(key), f"headrace.{key}")


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
    return {str(name): fill_in(item, f"headrace.{key}.{name}") for name, item in items.items()}


def get_seconds(key: str) -> float:
    """Return the setting ``headrace.<key>`` in seconds."""
    return seconds(get(key), f"headrace.{key}")


def seconds(value: object, what: str) -> float:
    """Return the seconds of 30, "30s", "300ms" or "2h". Errors name `what`."""
    text = str(value).strip().lower()
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|min|m|h|d)?", text)
    number = float(match[1]) * _SECONDS[match[2] or "s"] if match else math.inf
    if number > _MAX_SECONDS:
        description = f"is {text!r:.80} and must be a time such as 30, '30s' or '300ms'"
        raise InvalidRequest.of(Violation(what, description))
    return number


def fill_in(value: object, what: str) -> object:
    """Replace ``{NAME}`` in text by the environment variable NAME. Other values are returned unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return value.format_map(os.environ)
    except KeyError as error:
        message = f"is the template {value!r}, but the environment variable {error.args[0]} is not set"
        raise InvalidRequest.of(Violation(what, message)) from None
    except (ValueError, IndexError) as error:
        raise InvalidRequest.of(Violation(what, f"is {value!r}, which is not a valid template: {error}")) from None


@functools.cache
def _lookup() -> Callable[[str], object]:
    defaults = cast(
        "dict[str, object]", yaml.safe_load(resources.files("headrace").joinpath("headrace.yaml").read_text("utf-8"))
    )
    try:
        import dask.config as dask_config
    except ImportError:
        return functools.partial(_without_dask, defaults)
    dask_config.update_defaults(defaults)
    # A `dask.config.set` around the first import removes the defaults at its end.
    return lambda key: dask_config.get(f"headrace.{key}", default=_default(defaults, key))


def _without_dask(defaults: Mapping[str, object], key: str) -> object:
    variable = "DASK_HEADRACE__" + key.replace(".", "__").replace("-", "_").upper()
    if variable not in os.environ:
        return _default(defaults, key)
    text = os.environ[variable]
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _default(defaults: Mapping[str, object], key: str) -> object:
    value: object = defaults
    for part in ("headrace", *key.split(".")):
        value = cast("dict[str, object]", value)[part]
    return value
