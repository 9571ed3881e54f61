"""Policy files as YAML, read within bounds, with the line of each key. PyYAML itself crashes on deep nesting."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml
from typing_extensions import override

from headrace.errors import HeadraceError

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_PROBLEMS = 100
MAX_VALUES = 100_000
"""Values of a file, those that aliases repeat included."""
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in a policy file. `key` is a path such as ``limits.user.cores``."""

    line: int
    key: str
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.key}: {self.reason}" if self.key else f"line {self.line}: {self.reason}"


class BadPolicy(HeadraceError, ValueError):
    """A policy that cannot be used, with what is wrong in it, by line: all of it, or so much as people read."""

    def __init__(self, *problems: Problem) -> None:
        first = sorted(problems, key=lambda problem: problem.line)[:MAX_PROBLEMS]
        if more := len(problems) - len(first):
            first.append(Problem(first[-1].line, "", f"and {more} more problems"))
        super().__init__("\n".join(map(str, first)))
        self.problems = tuple(first)


class UnreadablePolicy(HeadraceError, ValueError):
    """A policy file that cannot be opened, such as one that is not there."""


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds, and where."""

    content: object
    _root: yaml.Node | None
    _keys: dict[int, dict[str, tuple[yaml.Node, yaml.Node]]] = field(default_factory=dict)  # of mappings, by id

    @classmethod
    def parse(cls, text: str) -> Document:
        """Parse YAML; raise `BadPolicy`."""
        if (size := len(text.encode())) > MAX_BYTES:
            raise _too_large(size)
        try:
            _check_size(text)
            loader = _Loader(text)
            root = loader.get_single_node()
            if root is not None and (twice := _repeated(root)):
                raise BadPolicy(*twice)
            return cls({} if root is None else loader.construct_document(root), root)
        except yaml.YAMLError as error:
            mark = cast("yaml.Mark | None", getattr(error, "problem_mark", None))
            line = mark.line if mark else text[: getattr(error, "position", 0)].count("\n")
            what = getattr(error, "problem", None) or getattr(error, "reason", None) or error
            raise BadPolicy(Problem(line + 1, "", f"this is not YAML: {what}")) from None

    def problem(self, path: Sequence[int | str], reason: str) -> Problem:
        """Return a problem with the line of a key, or of the closest one above it."""
        node, line = self._root, 1
        for step in path:
            if isinstance(node, yaml.MappingNode):
                found = self._pairs(node).get(str(step))
                if found is None:
                    break
                line, node = found[0].start_mark.line + 1, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line + 1
            else:
                break
        return Problem(line, ".".join(str(step)[:_SHOWN] for step in path), reason)

    def _pairs(self, node: yaml.MappingNode) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Return the keys and values of a mapping, by key. Its own stand behind those that `<<` merges into it."""
        if id(node) not in self._keys:
            self._keys[id(node)] = {str(pair[0].value): pair for pair in node.value}
        return self._keys[id(node)]


def read_text(file: Path) -> str:
    """Return what a policy file holds; raise `UnreadablePolicy`, or `BadPolicy` if it is no text or too large."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
            if len(raw) > MAX_BYTES:
                raise _too_large(os.fstat(stream.fileno()).st_size)
            return raw.decode()
    except OSError as error:
        raise UnreadablePolicy(f"the policy file {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BadPolicy(Problem(line, "", f"{file} is not text in UTF-8: {error.reason}")) from None


def _too_large(size: int) -> BadPolicy:
    return BadPolicy(Problem(1, "", f"the file has {size} bytes; a policy may have at most {MAX_BYTES}"))


class _Loader(yaml.CSafeLoader):
    """Tells the line of a value that its type does not allow, such as the date 2026-02-31."""

    @override
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            reason = str(error).partition(";")[0]  # without advice about Python
            raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark) from None


def _check_size(text: str) -> None:
    """Count values and depth before anything recurses into them; an alias counts as what it repeats."""
    sizes: dict[str | None, int] = {}
    open_: list[tuple[str | None, int]] = []  # the anchor of each open collection, and the values before it
    values = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            values += _repeated_size(event, sizes)
        elif isinstance(event, yaml.CollectionStartEvent):
            sizes.pop(event.anchor, None)
            open_.append((event.anchor, values))
            values += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            sizes[anchor] = values - before
        elif isinstance(event, yaml.ScalarEvent):
            sizes[event.anchor] = 1
            values += 1
        if len(open_) > MAX_DEPTH:
            raise _bad(event, f"more than {MAX_DEPTH} values are within another")
        if values > MAX_VALUES:
            raise _bad(event, f"there are more than {MAX_VALUES} values, those that aliases repeat included")


def _repeated_size(alias: yaml.AliasEvent, sizes: Mapping[str | None, int]) -> int:
    """Return how many values an alias repeats. One whose anchor is still open would hold itself."""
    if alias.anchor not in sizes:
        raise _bad(alias, f"the alias *{alias.anchor} has no anchor that ends before it")
    return sizes[alias.anchor]


def _bad(event: yaml.Event, reason: str) -> BadPolicy:
    return BadPolicy(Problem(event.start_mark.line + 1, "", reason))


def _repeated(node: yaml.Node, path: str = "") -> list[Problem]:
    """Find keys that a mapping has twice: YAML would let the last one win."""
    found: list[Problem] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            where = f"{path}.{name}".removeprefix(".")
            if name in seen:
                found.append(Problem(key.start_mark.line + 1, where, "the key is there twice"))
            seen.add(name)
            found += _repeated(value, where)
    elif isinstance(node, yaml.SequenceNode):
        for n, value in enumerate(node.value):
            found += _repeated(value, f"{path}.{n}".removeprefix("."))
    return found
