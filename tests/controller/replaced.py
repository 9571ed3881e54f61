"""Files that controllers follow, replaced at once."""

from __future__ import annotations

from pathlib import Path


def replace_file(file: Path, text: str) -> None:
    """Write a new file and rename it, as editors do. A file that is written in place is empty for a moment."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)
