"""Paths in the local directory.

::

    zygote/           socket, lock and log of the zygote; no other user may enter
    logs/<cluster>/<process>.log
    manifests/<cluster>
    work/<cluster>/   working directory, and Dask's temporary files; belongs to the account of its processes
    accounts          user ids that were given to users, if they come from a pool
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from headrace_controller.backends.process import ProcessKey

SOCKET, LOCK, LOG = "socket", "lock", "log"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


def is_name(text: str) -> bool:
    """Whether it can name a cluster or a process: it becomes part of paths and titles."""
    return _NAME.match(text) is not None


def make(directory: Path, *, reachable: bool = False) -> None:
    """Makes the local directory, closed to other users; if `reachable`, they can pass through to their own."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("zygote", "logs", "manifests", "work"):
        (directory / name).mkdir(mode=0o700, exist_ok=True)
    if reachable:
        for passed in (directory, directory / "work"):
            passed.chmod(0o711)


def zygote(directory: Path) -> Path:
    return directory / "zygote"


def log_directory(directory: Path, cluster: str) -> Path:
    return directory / "logs" / cluster


def log_file(directory: Path, key: ProcessKey) -> Path:
    return log_directory(directory, key.cluster) / f"{key.process}.log"


def manifest(directory: Path, cluster: str) -> Path:
    return directory / "manifests" / cluster


def accounts(directory: Path) -> Path:
    return directory / "accounts"


def work(directory: Path, cluster: str) -> Path:
    return directory / "work" / cluster


@contextmanager
def short(path: Path) -> Generator[str]:
    """Gives a socket a short name: the kernel accepts at most 107 bytes."""
    parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{parent}/{path.name}"
    finally:
        os.close(parent)
