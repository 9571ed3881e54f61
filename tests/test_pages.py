"""Pages name modules and link to pages that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("client", "services", "backends", "deploy", "protos", "docs", "scripts", "tests", "benchmarks")
PAGES = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
SOURCES = [path.as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")]
# `plan/planning.py`, or with the part that it is of: `controller: plan/planning.py`
SOURCE = re.compile(r"`(?:[\w/]+: )?([\w./-]+\.(?:py|lua|proto))`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    missing = [name for name in SOURCE.findall(text) if not any(path.endswith(f"/{name}") for path in SOURCES)]
    broken = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert (missing, broken) == ([], [])
