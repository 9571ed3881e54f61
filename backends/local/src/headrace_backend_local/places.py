"""Where things lie in the local directory.

::

    nursery/          socket, lock and log of the nursery; nobody else may enter
    logs/<cluster>/<process>.log
    manifests/<cluster>
    work/<cluster>/   working directory, and Dask's temporary files
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from headrace_controller.backends.base import ProcessKey

SOCKET, LOCK, LOG = "socket", "lock", "log"


def make(directory: Path) -> None:
    """Makes the local directory, closed to others."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("nursery", "logs", "manifests", "work"):
        (directory / name).mkdir(mode=0o700, exist_ok=True)


def nursery(directory: Path) -> Path:
    """Where the nursery keeps its own things."""
    return directory / "nursery"


def log_directory(directory: Path, cluster: str) -> Path:
    """Where the logs of a cluster lie."""
    return directory / "logs" / cluster


def log_file(directory: Path, key: ProcessKey) -> Path:
    """Where the output of a process goes."""
    return log_directory(directory, key.cluster) / f"{key.process}.log"


def manifest(directory: Path, cluster: str) -> Path:
    """Where the manifest of a cluster lies."""
    return directory / "manifests" / cluster


def work(directory: Path, cluster: str) -> Path:
    """Where the processes of a cluster work."""
    return directory / "work" / cluster


@contextmanager
def short(path: Path) -> Generator[str]:
    """Gives a short name to a socket, however long its path is: the kernel takes no more than 107 bytes."""
    parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{parent}/{path.name}"
    finally:
        os.close(parent)
