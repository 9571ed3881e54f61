"""The user guide, docs/client.md, and the tables in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

GUIDE = (Path(__file__).parents[2] / "docs/client.md").read_text("utf-8")


def table(heading: str, page: str = GUIDE) -> Iterator[str]:
    """The first column of the table with this heading, without marks of code."""
    rows = page.partition(f"\n| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    assert rows, f"there is no table | {heading} |"
    for row in rows:
        yield row.split("|")[1].strip()
