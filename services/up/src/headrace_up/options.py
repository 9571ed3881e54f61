"""Options of `headrace up`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class UpOptions:
    data: Path
    port: int = 8790
    keep_clusters: bool = False
    users_file: Path | None = None
    one_account: bool = False
    development: bool = False
    standby: int | None = None
    quiet: bool = False
