"""Log files of the parts: rotated at the start and when they have grown."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

MAX_BYTES = 20 * 1024 * 1024
KEPT = 3


def open_log(path: Path) -> int:
    """Open a log for appending; several processes may write to it at once."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def rotate(path: Path) -> None:
    """Rename a log to make room for a new one; drop the oldest."""
    if not path.exists() or path.stat().st_size == 0:
        return
    for number in range(KEPT - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    path.replace(path.with_name(f"{path.name}.1"))


def truncate_grown(paths: Iterable[Path]) -> None:
    """Copy and empty logs that have grown too large, while their writers keep them open."""
    for path in paths:
        if path.exists() and path.stat().st_size > MAX_BYTES:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            os.truncate(path, 0)


def tail(path: Path, lines: int = 15, largest: int = 8192) -> str:
    """Return the last lines; empty if there are none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - largest))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
