"""Two users with accounts of their own, in a world whose Python all accounts can read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can start processes as other accounts")

# Shows a closed directory, such as /root, as one that everybody may pass through, to one command only.
_OPENED = """
mount -t tmpfs -o mode=0755 none "$1" && mkdir "$1/top" "$1/opened"
mount -t overlay overlay -o "lowerdir=$1/top:$2" "$1/opened" && mount --bind "$1/opened" "$2"
shift 2
exec "$@"
"""


def closed_parent(path: Path) -> Path | None:
    """Returns the closest parent that other accounts cannot pass through."""
    return next((p for p in path.resolve().parents if not p.stat().st_mode & 0o001), None)


def with_readable_python(command: Sequence[str], scratch: Path) -> list[str]:
    """Returns a command that runs another one where all accounts can read this Python."""
    closed = {closed_parent(Path(prefix) / "bin") for prefix in (sys.prefix, sys.base_prefix)} - {None}
    if not closed:
        return list(command)
    if len(closed) > 1 or not shutil.which("unshare"):
        pytest.skip(f"other accounts cannot read the Python in {sys.base_prefix}")
    [directory] = closed
    prefix = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-ec",
        _OPENED,
        "sh",
        str(scratch),
        str(directory),
    ]
    if (done := subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"other accounts cannot read the Python in {sys.base_prefix}, and {done.stderr.strip()}")
    return [*prefix, *command]


# Tries what a task may try on files in FILES and on processes in PIDS.
ATTACK = """
import os, resource, signal, socket

def attempt(what, act):
    try:
        act()
    except OSError as error:
        print(f"refused: {what}: {error.strerror}")
    except Exception as error:
        print(f"refused: {what}: {error!r}")
    else:
        print(f"got: {what}")

for path in os.environ["FILES"].split(":"):
    attempt(f"read {path}", lambda: open(path, "rb").read(1) if not os.path.isdir(path) else os.listdir(path))
    attempt(f"write {path}", lambda: os.close(os.open(path, os.O_WRONLY)))
    attempt(f"remove {path}", lambda: os.rename(path, path + ".gone"))
    attempt(f"connect {path}", lambda: socket.socket(socket.AF_UNIX).connect(path))
for pid in map(int, os.environ["PIDS"].split(":")):
    for name in ("mem", "environ", "maps", "stack"):
        attempt(f"read {name} of {pid}", lambda: open(f"/proc/{pid}/{name}", "rb").close())
    attempt(f"list files of {pid}", lambda: os.listdir(f"/proc/{pid}/fd"))
    attempt(f"enter directory of {pid}", lambda: os.chdir(f"/proc/{pid}/cwd"))
    attempt(f"change limits of {pid}", lambda: resource.prlimit(pid, resource.RLIMIT_CORE))
    attempt(f"join group of {pid}", lambda: os.setpgid(0, os.getpgid(pid)))
    attempt(f"slow {pid}", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
    attempt(f"signal {pid}", lambda: os.kill(pid, signal.SIGCONT))
    attempt(f"signal group of {pid}", lambda: os.killpg(os.getpgid(pid), signal.SIGCONT))
for act in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]), lambda: os.chroot("/")):
    attempt("become root", act)
print("attack is over", flush=True)
import time
time.sleep(1000)
"""
