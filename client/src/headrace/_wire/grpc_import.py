"""Imports gRPC without its fork handlers, unless gRPC is imported already or the user wants them.

The handlers run in every process that is forked from this one, and abort it if a channel is busy. A user's
`multiprocessing` must not break because a Gateway is open. A forked process that uses an inherited Gateway gets an
error (see `channel.check_not_forked`).
"""

from __future__ import annotations

import os

_VARIABLE = "GRPC_ENABLE_FORK_SUPPORT"
_given = os.environ.get(_VARIABLE)
os.environ.setdefault(_VARIABLE, "0")
try:
    import grpc.aio  # noqa: F401  # pyright: ignore[reportUnusedImport] - it reads the variable while it is imported
finally:
    if _given is None:
        del os.environ[_VARIABLE]
