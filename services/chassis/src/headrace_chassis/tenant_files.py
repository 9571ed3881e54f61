"""Opens files and directories that users' processes can replace by something else.

A named pipe would block who opens it, and a symbolic link would lead to a file of another user.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Generator
from pathlib import Path

# A link, a pipe that nobody reads, a file or directory instead of the other, one that is closed or leased.
_REPLACED = {
    *(errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.EISDIR),
    *(errno.EACCES, errno.EPERM, errno.EAGAIN),
}
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NotAsMade(OSError):
    """What is there is not what headrace has made there."""


def open_file(path: Path, flags: int = os.O_RDONLY) -> int:
    """Return a descriptor of a regular file; never blocks, and follows no link at the file or its directory.

    Raises `NotAsMade` if something else is there. With `os.O_CREAT`, only its owner may read it.
    """
    parent = open_directory(path.parent)
    try:
        with _explained(path):
            descriptor = os.open(path.name, flags | _SAFE, 0o600, dir_fd=parent)
    finally:
        os.close(parent)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAsMade(f"{path} is not a regular file any more")
    return descriptor


def open_directory(path: Path) -> int:
    """Return a descriptor of a directory; raises `NotAsMade` if something else is there."""
    with _explained(path):
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | _SAFE)


def make_directory(path: Path) -> int:
    """Return a descriptor of a directory, which is made, for its owner only, if it is not there."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    return open_directory(path)


def remove(path: Path) -> None:
    """Remove a file, or a directory with all that is in it, whatever it is by now; follows no link."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    except OSError:
        try:
            shutil.rmtree(path, onerror=_unless_gone)
        except RecursionError:
            # Python removes as many levels as it may call itself; a task may have made more.
            subprocess.run(["/bin/rm", "-rf", "--", path], check=True)


def _unless_gone(_function: object, _path: str, error: tuple[type[BaseException], BaseException, object]) -> None:
    # A process that ends may remove its files at the same time.
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]


@contextlib.contextmanager
def _explained(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _REPLACED:
            raise
        raise NotAsMade(f"{path} is not what headrace has made there: {error.strerror}") from error
