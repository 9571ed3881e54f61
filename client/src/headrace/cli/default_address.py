"""Where `Gateway()` goes by default: a file of Dask's configuration that login writes and logout removes."""

from __future__ import annotations

import json
import os
from pathlib import Path

HEAD = "# Written by `headrace login`; once this line is gone, it is left alone.\n"


def config_file() -> Path:
    """Where it lies among Dask's configuration."""
    return Path(os.environ.get("DASK_CONFIG") or Path.home() / ".config" / "dask") / "headrace.yaml"


def set_default(address: str) -> bool:
    """Makes it the default; False where a file of the user's own says what the default is."""
    path = config_file()
    if path.parent.is_file() or (path.exists() and not _is_ours(path)):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEAD}headrace:\n  address: {json.dumps(address)}\n")
    return True


def forget_default(address: str) -> None:
    """Removes the file if it is ours and about this address."""
    path = config_file()
    if path.exists() and _is_ours(path) and json.dumps(address) in path.read_text():
        path.unlink()


def _is_ours(path: Path) -> bool:
    return path.read_text().startswith(HEAD)
