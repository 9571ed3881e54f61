"""Writes the tables of docs/ and docs/policy.schema.json from the code; --check only reports drift.

A table stands between ``<!-- KIND: MODULE -->`` and ``<!-- end -->``; KIND is settings, metrics or keys, or
fields, of the class MODULE:CLASS.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import cast

from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from headrace_chassis.settings import ServiceSettings
from headrace_controller.policy.schema import policy_schema

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = (DOCS / "operating.md", DOCS / "profiles.md")
SCHEMA = DOCS / "policy.schema.json"
BLOCK = re.compile(r"(<!-- (settings|metrics|keys|fields): ([\w.]+)(?::(\w+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> int:
    """Write or check the page and the schema; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing, fail if they are not up to date")
    check = bool(parser.parse_args().check)
    pages = [(page, BLOCK.sub(table, page.read_text(encoding="utf-8"))) for page in PAGES]
    code = 0
    for file, new in (*pages, (SCHEMA, policy_schema())):
        if not check:
            file.write_text(new, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != new:
            print(f"docs/{file.name} differs from the code: run `make reference` and commit", file=sys.stderr)
            code = 1
    return code


def table(found: re.Match[str]) -> str:
    """Return a block with its table as it is now."""
    module = importlib.import_module(found[3])
    if found[2] == "fields":
        return found[1] + fields_table(getattr(module, found[4])) + found[5]
    return found[1] + TABLES[found[2]](module) + found[5]


def fields_table(model: type[BaseModel]) -> str:
    """Return the keys of a section as a table."""
    rows = [
        f"| `{name}` | {shown(field, field.get_default(call_default_factory=True))} | {field.description or ''} |"
        for name, field in model.model_fields.items()
        if not isinstance(field.default, BaseModel)
    ]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows, ""])


def settings_table(module: ModuleType) -> str:
    """Return the settings of a service, or of a backend or authenticator, as a table."""
    model = main_model(module)
    prefix = str(model.model_config.get("env_prefix", ""))
    shared = set() if model is ServiceSettings else {name for name, _, _ in settings(ServiceSettings)}
    own = [setting for setting in settings(model) if setting[0] not in shared]
    rows = [f"| `{prefix}{name}` | {default} | {text} |" for name, default, text in own]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows, ""])


def main_model(module: ModuleType) -> type[BaseModel]:
    """Return the settings of a module: the class named Settings, or the only settings of a service in it."""
    if (named := getattr(module, "Settings", None)) is not None:
        return cast("type[BaseModel]", named)
    found = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, ServiceSettings)]
    (model,) = [value for value in found if value.__module__ == module.__name__]
    return model


def settings(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield name, default and description of each setting, nested ones with ``__``."""
    for name, field in model.model_fields.items():
        path = f"{above}{name.upper()}"
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            yield from settings(type(default), f"{path}__")
        else:
            yield path, shown(field, default), (field.description or "").replace("|", "\\|")


def shown(field: FieldInfo, default: object) -> str:
    """Return a default as people write it; empty where it is computed."""
    if field.is_required():
        return "required"
    if default is None or field.default_factory is not None or isinstance(default, dict) or default in ("", [], ()):
        return ""
    if isinstance(default, list):
        return ", ".join(f"`{entry}`" for entry in cast("list[object]", default))
    return f"`{default}`" if not isinstance(default, float) else f"`{default:g}`"


def metrics_table(module: ModuleType) -> str:
    """Return the metrics of a service as a table."""
    found = [value for value in vars(module).values() if isinstance(value, MetricWrapperBase)]
    rows = [metric(value) for value in found]
    return "\n".join(["| metric | type | labels | meaning |", "|---|---|---|---|", *rows, ""])


def metric(value: MetricWrapperBase) -> str:
    """Return the row of a metric."""
    described = next(iter(value.describe()))
    suffix = "_total" if described.type == "counter" else ""
    labels = ", ".join(f"`{label}`" for label in value._labelnames)  # pyright: ignore[reportPrivateUsage]
    return f"| `{described.name}{suffix}` | {described.type} | {labels} | {described.documentation} |"


def keys_table(module: ModuleType) -> str:
    """Return what a module says about its keys."""
    return f"```text\n{(module.__doc__ or '').strip()}\n```\n"


TABLES: dict[str, Callable[[ModuleType], str]] = {
    "settings": settings_table,
    "metrics": metrics_table,
    "keys": keys_table,
}

if __name__ == "__main__":
    sys.exit(main())
