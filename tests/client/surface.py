"""The public surface of a client, as facts: modules, names, arguments, attributes, bases and settings.

Run by the interpreter of an environment that has dask-gateway (`make bench` makes one), it prints the facts about that:

    .cache/benchmarks/peer/bin/python tests/client/surface.py > tests/client/dask_gateway_surface.json
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import inspect
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

MODULES = ("", ".auth", ".client", ".options")
SETTINGS = {"dask_gateway": ("gateway.yaml", "gateway"), "headrace": ("headrace.yaml", "headrace")}


def surface(package: str) -> dict[str, Any]:
    """Returns the facts about the package that is installed here."""
    modules = {suffix.removeprefix("."): importlib.import_module(package + suffix) for suffix in MODULES}
    classes: dict[str, type] = {}
    functions: dict[str, Any] = {}
    for module in modules.values():
        for name in _names(module):
            value = getattr(module, name)
            if isinstance(value, type):
                classes[name] = value
            elif callable(value):
                functions[name] = value
    return {
        "names": {name: _names(module) for name, module in modules.items()},
        "arguments": {
            **{name: _arguments(function) for name, function in functions.items()},
            **{name: _arguments(cls) for name, cls in classes.items()},
            **{f"{name}.{key}": _arguments(value) for name, cls in classes.items() for key, value in _methods(cls)},
        },
        "attributes": {name: sorted(_attributes(cls)) for name, cls in classes.items()},
        "bases": {
            name: sorted({base.__name__ for base in cls.__mro__[1:] if base.__name__[0] != "_"})
            for name, cls in classes.items()
        },
        "settings": _settings(package),
    }


def _names(module: ModuleType) -> list[str]:
    """Returns the names that are listed, and those of what the module defines."""
    found: set[str] = set(getattr(module, "__all__", ()))
    for name, value in vars(module).items():
        if str(getattr(value, "__module__", "")).startswith(module.__name__) and callable(value):
            found.add(name)
    return sorted(name for name in found if name[0] != "_")


def _methods(cls: type) -> Iterator[tuple[str, Any]]:
    for name in dir(cls):
        value = inspect.getattr_static(cls, name)
        function = getattr(value, "__func__", value)
        if name[0] != "_" and inspect.isfunction(function) and _package(function) not in sys.stdlib_module_names:
            yield name, getattr(cls, name)


def _package(value: Any) -> str:
    return value.__module__.partition(".")[0]


def _arguments(function: Any) -> list[list[str | None]]:
    """Returns name, kind and default of each. Enums and exceptions have none that people use."""
    if isinstance(function, type) and issubclass(function, enum.Enum | BaseException):
        return []
    parameters = [one for one in inspect.signature(function).parameters.values() if one.name != "self"]
    empty = inspect.Parameter.empty
    return [[one.name, one.kind.name, None if one.default is empty else repr(one.default)] for one in parameters]


def _attributes(cls: type) -> set[str]:
    """Returns properties, fields, members, and what methods assign to `self`."""
    static = {name: inspect.getattr_static(cls, name) for name in dir(cls)}
    found = {name for name, value in static.items() if not callable(value) and not isinstance(value, classmethod)}
    if dataclasses.is_dataclass(cls):
        found |= {field.name for field in dataclasses.fields(cls)}
    if issubclass(cls, enum.Enum):
        found = set(cls.__members__)
    elif not issubclass(cls, BaseException):
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
        found |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_set_on_self(node)}
    return {name for name in found if name[0] != "_"}


def _is_set_on_self(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id == "self"


def _settings(package: str) -> dict[str, Any]:
    import yaml

    file, root = SETTINGS[package]
    content = yaml.safe_load(resources.files(package).joinpath(file).read_text("utf-8"))
    return dict(_flat(content[root]))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))
    print(json.dumps(surface("dask_gateway"), indent=1, sort_keys=True))
