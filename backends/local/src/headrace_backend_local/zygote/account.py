"""Turns a process that was forked from root's zygote into one of another account, for good."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

from headrace_backend_local.protocol import Account

_PR_SET_DUMPABLE = 4
_JOIN_SESSION_KEYRING = 1
_KEYCTL = {"x86_64": 250, "aarch64": 219}
_UMASK = 0o022
_NEEDED = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SYS_PTRACE": 19,  # to find processes in /proc by their tags, and what they listen on
}
_libc = ctypes.CDLL(None, use_errno=True)


class NotSeparated(Exception):
    """This process could not give up what root may do; it must not go on."""


def assume(account: Account) -> None:
    """Makes this process one of the account. Called before it reads its launch secrets, and before any tenant's code.

    Raises `NotSeparated` or `OSError`; the process must end then.
    """
    if number := _KEYCTL.get(platform.machine()):
        _libc.syscall(number, _JOIN_SESSION_KEYRING, None)  # root's keys would stay within reach
    os.setgroups(account.groups)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    os.umask(_UMASK)
    _check(account)
    # The kernel has closed /proc/self to this process. Nothing secret is in its memory yet.
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def obstacle(directory: Path, *pythons: Path) -> str:
    """Returns why processes cannot run as other accounts here, "" if they can.

    Parameters
    ----------
    directory
        The local directory: working directories are below it.
    pythons
        Directories of this Python, which all accounts must be able to read.
    """
    if os.geteuid() != 0:
        return "only root can start processes as other accounts: start headrace as root, or without accounts"
    held = int(_status()["CapEff"], 16)
    if missing := [name for name, bit in _NEEDED.items() if not held >> bit & 1]:
        return f"starting processes as other accounts needs {', '.join(missing)}, which root does not have here"
    if closed := _closed(directory):
        return f"other accounts cannot reach {directory}, because {closed} is closed to them: choose another directory"
    for python in pythons:
        if closed := _closed(python):
            return (
                f"other accounts cannot run the Python in {python}, because {closed} is closed to them: "
                "install headrace where all accounts can read it, such as /opt"
            )
    return ""


def _check(account: Account) -> None:
    status = _status()
    ids = {name: {int(number) for number in status[name].split()} for name in ("Uid", "Gid")}
    if ids != {"Uid": {account.uid}, "Gid": {account.gid}}:
        raise NotSeparated(f"this process did not become one of account {account.name}")
    if any(int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")):
        raise NotSeparated(f"this process of account {account.name} has kept capabilities of root")


def _status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _closed(path: Path) -> Path | None:
    """Returns the first of a directory and its parents that other accounts cannot pass through."""
    resolved = path.resolve()
    return next((p for p in (resolved, *resolved.parents) if p.is_dir() and not p.stat().st_mode & 0o001), None)
