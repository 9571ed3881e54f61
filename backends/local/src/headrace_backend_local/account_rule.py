"""How the account of a user's processes is chosen. Imports nothing: `headrace up` starts with it."""

from __future__ import annotations

from enum import StrEnum


class AccountRule(StrEnum):
    """The setting `backends.local.accounts`."""

    NONE = "none"
    SAME_NAME = "same-name"
    POOL = "pool"
