"""Keeps log files within bounds, while processes write to them.

The oldest part of a file that has grown too large becomes a hole: its room on the disk is freed, but positions stay
valid, nothing is copied, and neither writers nor readers notice. A file system without holes has the file emptied.
"""

from __future__ import annotations

import ctypes
import os

LIMIT = 64 * 1024 * 1024
KEPT = LIMIT // 2
_BLOCK = 1024 * 1024

_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def enforce(path: str, limit: int = LIMIT, kept: int = KEPT) -> None:
    """Drops the oldest part of a file that takes more than `limit` bytes on the disk; about `kept` bytes stay."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        seen = os.fstat(descriptor)
        if seen.st_blocks * 512 <= limit:
            return
        end = (seen.st_size - kept) // _BLOCK * _BLOCK
        if end > 0 and _libc.fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, 0, end) != 0:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
