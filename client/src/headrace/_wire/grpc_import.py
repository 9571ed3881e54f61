"""Imports gRPC without its fork handlers, unless somebody else has imported it already or wants them.

gRPC's handlers run in every process that is forked from this one, and abort some of them while a channel is busy. A
user's `multiprocessing` must not suffer from an open Gateway; a process that uses an inherited one is told in words.
"""

from __future__ import annotations

import os

_VARIABLE = "GRPC_ENABLE_FORK_SUPPORT"
_given = os.environ.get(_VARIABLE)
os.environ.setdefault(_VARIABLE, "0")
try:
    import grpc.aio  # noqa: F401  # pyright: ignore[reportUnusedImport] - for what it reads while being imported
finally:
    if _given is None:
        del os.environ[_VARIABLE]
