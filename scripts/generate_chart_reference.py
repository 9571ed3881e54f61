"""Writes what follows from the Helm chart's values.yaml and from deploy/; --check only reports drift.

In ``values.yaml`` a comment above each key says what it is (``# -- text``). It becomes the chart's README and, with the
default, ``values.schema.json``: a key that is not in ``values.yaml`` is refused. What the default does not show stands
in a line ``# @schema``: a JSON schema that is laid over the default's, or ``open`` for a map with any keys. An empty
map is such a map anyway. Alerts and dashboards are copied, since a chart can only read files of its own folder.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "deploy" / "helm" / "headrace"
VALUES = CHART / "values.yaml"
README = CHART / "README.md"
BEGIN, END = "<!-- values: generated from values.yaml -->\n", "<!-- end -->"
COPIED = [
    "prometheus/alerts.yml",
    "prometheus/recording.yml",
    *(f"grafana/{name}.json" for name in ("cluster", "deployment", "owner")),
]


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the chart: a leaf, or a map whose keys are values themselves."""

    path: tuple[str, ...]
    text: str
    default: Any
    given: str
    parts: tuple[Value, ...] = ()

    @property
    def is_open(self) -> bool:
        return self.given == "open" or (self.default == {} and not self.given)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of this value."""
        described = {"description": self.text} if self.text else {}
        if self.is_open:
            return {**described, "type": "object"}
        if self.parts:
            return {**described, **strict({part.path[-1]: part.schema() for part in self.parts})}
        implied: dict[str, Any] = {"type": json_type(self.default)} if self.default is not None else {}
        return {**described, **implied, **(json.loads(self.given) if self.given else {})}


def strict(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a map that has no other keys."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


def json_type(default: object) -> str:
    """Return JSON's name for the type of a default."""
    match default:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def read_values(text: str) -> tuple[Value, ...]:
    """Return the values of a values.yaml; raise `SystemExit` with all keys that lack a comment."""
    lines = text.splitlines()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    found = tuple(_values(root, (), lines))
    names = [".".join(value.path) for value in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        sys.exit(f"values.yaml: twice there: {', '.join(twice)}")
    silent = [".".join(value.path) for value in leaves(found) if not value.text]
    if silent:
        sys.exit(f"values.yaml: no comment `# -- ...` above {', '.join(silent)}")
    return found


def _values(node: yaml.MappingNode, above: tuple[str, ...], lines: list[str], whole: str = "") -> Iterator[Value]:
    """Yield the values of a map. ``whole`` describes all of a map that is written in one line."""
    for key, value in node.value:
        path = (*above, str(key.value))
        text, given = _comment(lines, key.start_mark.line, key.start_mark.column)
        default = yaml.safe_load(yaml.serialize(value))
        parts: tuple[Value, ...] = ()
        if given != "open" and isinstance(value, yaml.MappingNode):
            parts = tuple(_values(value, path, lines, text if value.flow_style else ""))
        yield Value(path, text or whole, default, given, parts)


def _comment(lines: list[str], line: int, column: int) -> tuple[str, str]:
    """Return text and schema of the comment that ends above a line."""
    block: list[str] = []
    while line and lines[line - 1].startswith(" " * column + "#"):
        line -= 1
        block.insert(0, lines[line].strip().removeprefix("#").strip())
    start = next((number for number, each in enumerate(block) if each.startswith("-- ")), len(block))
    text = [each for each in block[start:] if not each.startswith("@schema")]
    given = [each.removeprefix("@schema").strip() for each in block if each.startswith("@schema")]
    return " ".join(text).removeprefix("-- "), " ".join(given)


def leaves(values: tuple[Value, ...]) -> Iterator[Value]:
    """Yield the values that have no values of their own."""
    for value in values:
        if value.parts:
            yield from leaves(value.parts)
        else:
            yield value


def schema(values: tuple[Value, ...]) -> str:
    """Return values.schema.json."""
    properties = {value.path[-1]: value.schema() for value in values}
    # Helm hands a chart that is a dependency of another the values of `global`.
    document = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the headrace chart",
        **strict({**properties, "global": {"type": "object"}}),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def table(values: tuple[Value, ...]) -> str:
    """Return the values as tables, one for each key at the top that has keys of its own."""
    shown: list[str] = []
    single = [value for value in values if not value.parts]
    if single:
        shown += [_rows(single)]
    for value in values:
        if value.parts:
            shown += [
                f"### {value.path[0]}\n\n" + (f"{value.text}\n\n" if value.text else "") + _rows(leaves(value.parts))
            ]
    return "\n".join(shown)


def _rows(values: Iterator[Value] | list[Value]) -> str:
    rows = [f"| `{'.'.join(value.path)}` | {_default(value.default)} | {_cell(value.text)} |" for value in values]
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *rows, ""])


def _default(default: object) -> str:
    if default in (None, "", [], {}):
        return ""
    text = json.dumps(default, ensure_ascii=False) if not isinstance(default, str) else default
    return f"`{_cell(text)}`" if len(text) <= 60 else "see `values.yaml`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def files() -> dict[Path, str]:
    """Return each file that this script writes, with its content."""
    values = read_values(VALUES.read_text(encoding="utf-8"))
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    copies = {CHART / "files" / name: (ROOT / "deploy" / name).read_text(encoding="utf-8") for name in COPIED}
    return {
        CHART / "values.schema.json": schema(values),
        README: f"{before}{BEGIN}{table(values)}{END}{after}",
        **copies,
    }


def main() -> int:
    """Write or check the files; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing, fail if they are not up to date")
    check = bool(parser.parse_args().check)
    code = 0
    for file, new in files().items():
        if not check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(new, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != new:
            print(f"{file.relative_to(ROOT)} is not up to date: run `make reference` and commit", file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
