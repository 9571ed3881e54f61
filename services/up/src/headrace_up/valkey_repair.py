"""Repairs Valkey's append-only files, which a power cut or a full disk may damage."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from headrace_up import log_file

_STARTS = "Valkey is starting"
_DAMAGED = (
    "Bad file format reading the append only file",
    "Unexpected end of file reading the append only file",
    "Error reading the append only file",  # a command that does not exist; errors of the disk are "Unrecoverable"
    "AOF MANIFEST FILE ERROR",
    "Internal error in RDB reading",
)


def repair(directory: Path, log: Path, server: Path) -> None:
    """Repair the append-only files if Valkey has logged that they are damaged; print what was done.

    What follows the last readable command is cut off. Files that cannot be repaired are set aside: the store begins
    empty, and clusters are adopted. The damaged files are kept in either case.

    Parameters
    ----------
    directory
        Of the append-only files.
    log
        Log of the Valkey that did not start.
    server
        Program of that Valkey.
    """
    last_start = log_file.tail(log, lines=200, largest=1 << 16).rpartition(_STARTS)[2]
    if not any(sign in last_start for sign in _DAMAGED):
        return
    aside = directory.with_name(f"{directory.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    draft = directory.with_name(f"{directory.name}.repaired")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        shutil.copytree(directory, draft)
        repaired = _cut_damaged_end(draft, server)
        directory.rename(aside)
        if repaired:
            draft.rename(directory)
    except OSError as error:
        print(f"the store's files in {directory} are damaged and cannot be repaired now: {error}")
        return
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    if repaired:
        print(f"the end of the store's file was damaged and has been cut off; the damaged files are kept in {aside}")
    else:
        print(
            f"the store's files were damaged; they are kept in {aside}. The store begins empty: running clusters are "
            "adopted, records of ended ones are lost"
        )


def _cut_damaged_end(directory: Path, server: Path) -> bool:
    """Shorten the newest file to its last readable command; False if it is not damaged there."""
    newest = max(directory.glob("*.incr.aof"), key=_number, default=None)
    if newest is None or _check(server, newest) == 0:
        return False
    return _check(server, "--fix", newest) == 0 and _check(server, newest) == 0


def _number(path: Path) -> int:
    """Return the 7 of appendonly.aof.7.incr.aof."""
    return int(path.name.split(".")[2])


def _check(server: Path, *arguments: str | Path) -> int:
    """Run valkey-check-aof, which is the server's program under another name; return its exit code."""
    done = subprocess.run(
        ["valkey-check-aof", *arguments],
        executable=server,
        input=b"y\n",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode
