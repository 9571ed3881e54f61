"""Pages name modules, commands and values that exist, and link to pages that exist. All are reached from the README."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer.core
import typer.main
import yaml

from headrace.cli import app

ROOT = Path(__file__).parents[1]
FOLDERS = ("client", "services", "backends", "deploy", "protos", "docs", "scripts", "tests", "benchmarks")
# Sorted: processes that run tests in parallel must name the same ones in the same order.
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
SOURCES = [path.as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")]
# `plan/planning.py`, or with the part that it is of: `controller: plan/planning.py`
SOURCE = re.compile(r"`(?:[\w/]+: )?([\w./-]+\.(?:py|lua|proto))`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
VALUES = yaml.safe_load((ROOT / "deploy/helm/headrace/values.yaml").read_text("utf-8"))
PAGES_OF_THE_CHART = ["docs/kubernetes.md", "docs/images.md", "docs/mesh.md"]


def _path(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def code(page: Path) -> Iterator[str]:
    """Lines of blocks, and what stands in a line as code; without comments."""
    text = page.read_text("utf-8")
    lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
    for piece in (*lines, *INLINE.findall(BLOCK.sub("", text))):
        yield piece.partition(" #")[0].strip()


def without_a_command(line: str) -> Iterator[str]:
    """What of a command of headrace does not exist: a subcommand, or an option."""
    command: Any = typer.main.get_command(app)
    words = [word for word in shlex.split(line)[1:] if word not in {"...", "|"}]
    while isinstance(command, typer.core.TyperGroup) and words and re.fullmatch("[a-z][a-z-]*", words[0]):
        context = typer.Context(command)
        try:
            _, command, words = command.resolve_command(context, words)
        except Exception as error:  # noqa: BLE001 - click's own, of which typer has a copy
            yield f"{line}: {error}"
            return
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    options = (word.partition("=")[0] for word in words if word.startswith("-") and word != "-")
    yield from (f"{line}: {option}" for option in options if option not in {*known, "-h", "--help"})


@pytest.mark.parametrize("page", PAGES, ids=_path)
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    missing = [name for name in SOURCE.findall(text) if not any(path.endswith(f"/{name}") for path in SOURCES)]
    broken = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert (missing, broken) == ([], [])


# Decisions name commands that were turned down, too.
@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name != "adr"], ids=_path)
def test_commands_of_a_page_exist(page: Path) -> None:
    pieces = list(code(page))
    targets = [target for piece in pieces for target in re.findall(r"^make ([\w-]+)", piece)]
    modules = [module for piece in pieces for module in re.findall(r"\bpython3? -m ([\w.]+)", piece)]
    commands = [piece for piece in pieces if re.match(r"headrace( [a-z-]|$)", piece)]
    assert set(targets) <= TARGETS
    assert [module for module in modules if importlib.util.find_spec(module) is None] == []
    assert [wrong for command in commands for wrong in without_a_command(command)] == []


@pytest.mark.parametrize("page", PAGES_OF_THE_CHART)
def test_values_of_the_chart_exist(page: str) -> None:
    names = [name for piece in code(ROOT / page) for name in re.findall(r"^(?:--set )?(\w+(?:\.\w+)+)(?![\w(])", piece)]
    ours = [name for name in names if name.partition(".")[0] in VALUES]
    assert ours
    assert [name for name in ours if not _is_value(name)] == []


def _is_value(name: str) -> bool:
    values: object = VALUES
    for key in name.split("."):
        if not isinstance(values, Mapping) or not values:  # what is below is free
            return True
        if key not in values:
            return False
        values = values[key]
    return True


def test_all_pages_are_reached_from_the_readme() -> None:
    reached, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        linked = {(page.parent / link).resolve() for link in LINK.findall(page.read_text("utf-8"))}
        ahead += [other for other in linked if other.suffix == ".md" and other not in reached]
    # The client's page is that of its distribution.
    assert {page for page in PAGES if page.parent == ROOT / "docs" or page.name == "README.md"} - reached == {
        ROOT / "client/README.md"
    }
