"""Log files of the services: rotated when a service starts, and when they have grown."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

LARGEST = 20 * 1024 * 1024
KEPT = 3


def open_log(path: Path) -> int:
    """Opens a log for appending; several processes may write to it at once."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def rotate(path: Path) -> None:
    """Moves a log out of the way and drops the oldest."""
    if not path.exists() or path.stat().st_size == 0:
        return
    for number in range(KEPT - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    path.replace(path.with_name(f"{path.name}.1"))


def cut_grown(paths: Iterable[Path]) -> None:
    """Copies and empties logs that have grown too large: their writers keep them open."""
    for path in paths:
        if path.exists() and path.stat().st_size > LARGEST:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            os.truncate(path, 0)


def tail(path: Path, lines: int = 15, largest: int = 8192) -> str:
    """Returns the last lines."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - largest))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
