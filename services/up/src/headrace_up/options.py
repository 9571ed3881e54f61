"""Options of `headrace up`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headrace_backend_local.account_rule import AccountRule


@dataclass(frozen=True, kw_only=True)
class UpOptions:
    data: Path
    port: int = 8790
    keep_clusters: bool = False
    users_file: Path | None = None
    policy: Path | None = None
    one_account: bool = False
    accounts: AccountRule = AccountRule.NONE
    development: bool = False
    standby: int | None = None
    quiet: bool = False
