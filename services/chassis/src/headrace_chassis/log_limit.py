"""Keeps log files within bounds, while processes write to them.

The oldest part of a file that has grown too large becomes a hole: its room on the disk is freed, but positions stay
valid, nothing is copied, and neither writers nor readers notice. A file system without holes has the file emptied.
"""

from __future__ import annotations

import ctypes
import os
import stat
from contextlib import suppress
from pathlib import Path

LIMIT = 64 * 1024 * 1024
KEPT = LIMIT // 2
_BLOCK = 1024 * 1024

_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def enforce(path: Path, limit: int = LIMIT, kept: int = KEPT) -> None:
    """Trim a file by its path, if it can be opened.

    Pipes and links are left alone: a task may have put one in the place of its log.
    """
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            trim(descriptor, limit, kept)
        finally:
            os.close(descriptor)


def trim(descriptor: int, limit: int = LIMIT, kept: int = KEPT) -> None:
    """Drop the oldest part of a file that takes more than `limit` bytes on the disk; about `kept` bytes stay.

    What is not a regular file is left alone. After an error of the disk the file stays as it is, until the next time.
    """
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_blocks * 512 <= limit:
        return
    end = (found.st_size - kept) // _BLOCK * _BLOCK
    if end > 0 and _libc.fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, 0, end) != 0:
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
