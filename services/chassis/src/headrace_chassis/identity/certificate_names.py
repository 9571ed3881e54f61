"""Names of users, groups and processes, as certificates have them."""

from __future__ import annotations

import hashlib

_MOST = 64


def name_in_certificate(name: str) -> str:
    """Return the name of a user, a group or a process as certificates have it.

    X.509 allows 64 characters. Sessions of clients belong to whom this names, so it must differ between users.
    """
    if len(name) <= _MOST:
        return name or "-"
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: _MOST - len(digest) - 1]}-{digest}"
