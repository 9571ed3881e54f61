"""Opens files and directories that users' processes can replace by something else.

A named pipe would block who opens it, and a symbolic link would lead to a file of another user.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NotAsMade(OSError):
    """What is there is not what headrace has made there."""


def open_file(path: Path, flags: int = os.O_RDONLY) -> int:
    """Returns a descriptor of a regular file; never blocks, and follows no link at the file or its directory.

    Raises `FileNotFoundError`, or `NotAsMade` if it is something else. With `os.O_CREAT` only its owner may read it.
    """
    parent = open_directory(path.parent)
    try:
        descriptor = os.open(path.name, flags | _SAFE, 0o600, dir_fd=parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotAsMade(f"{path} cannot be opened: {error.strerror}") from error
    finally:
        os.close(parent)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAsMade(f"{path} is not a regular file any more")
    return descriptor


def open_directory(path: Path) -> int:
    """Returns a descriptor of a directory; raises `FileNotFoundError`, or `NotAsMade` if it is something else."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | _SAFE)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotAsMade(f"{path} is not a directory that can be opened any more: {error.strerror}") from error


def make_directory(path: Path) -> int:
    """Returns a descriptor of a directory, which is made for its owner only if it is not there."""
    path.mkdir(mode=0o700, exist_ok=True)
    return open_directory(path)
