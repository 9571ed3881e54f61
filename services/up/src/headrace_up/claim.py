"""Claims a data directory: for one `headrace up` at a time, and for none that is older than the one that wrote it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from headrace.private_files import write_private
from headrace_up.errors import CannotRun
from headrace_up.layout import Layout

LAYOUT_VERSION = 1


@contextmanager
def claimed(layout: Layout, version: str) -> Generator[None]:
    """Hold the data directory for the length of the block."""
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor, layout.data)
        _check_version(layout, version)
        with suppress(OSError):  # a full disk must not keep headrace from running
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, data: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode().strip()
        who = f"process {holder}" if holder else "another process"
        raise CannotRun(
            f"headrace already runs on {data} ({who}): use that one, stop it with Ctrl-C in its terminal, "
            "or choose another directory with --data-dir and another port with --port"
        ) from error


def _check_version(layout: Layout, version: str) -> None:
    """Refuse a directory of a newer layout; note our version in others."""
    mine = json.dumps({"layout": LAYOUT_VERSION, "version": version}) + "\n"
    if not layout.version.exists():
        write_private(layout.version, mine)
        return
    try:
        written = json.loads(layout.version.read_text())
        found, by = int(written["layout"]), str(written["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise CannotRun(
            f"{layout.version} is damaged, so it is unknown which headrace wrote {layout.data}: "
            "choose another directory with --data-dir"
        ) from error
    if found > LAYOUT_VERSION:
        raise CannotRun(
            f"the data directory {layout.data} was written by headrace {by}, which is newer than this {version}: "
            "update with pip install -U 'headrace[server]', or choose another directory with --data-dir"
        )
    if by != version:
        write_private(layout.version, mine)
