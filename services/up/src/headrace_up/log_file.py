"""Log files of the parts: rotated at the start, limited while they are written."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from headrace_chassis import log_limit

MAX_BYTES = 20 * 1024 * 1024
KEPT = 3
_CONTROL = re.compile(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]")


def open_log(path: Path) -> int:
    """Open a log for appending; several processes may write to it at once. What cannot be logged is discarded."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:  # such as a full disk, which must not keep a part from running
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def rotate(path: Path) -> None:
    """Rename a log to make room for a new one; drop the oldest. A log that cannot be renamed is continued."""
    with suppress(OSError):
        _rotate(path)


def _rotate(path: Path) -> None:
    if not path.exists() or path.stat().st_size == 0:
        return
    for number in range(KEPT - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    path.replace(path.with_name(f"{path.name}.1"))


def limit_all(directory: Path) -> None:
    """Drop the oldest part of each log that has grown too large, while its writers keep it open."""
    with suppress(OSError):
        for path in directory.glob("*.log"):
            log_limit.enforce(path, MAX_BYTES, MAX_BYTES // 2)


def tail(path: Path, lines: int = 15, largest: int = 8192) -> str:
    """Return the last lines; empty if there are none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - largest))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    printable = _CONTROL.sub("?", text)  # what users send must not control the administrator's terminal
    return "\n".join(printable.splitlines()[-lines:])
