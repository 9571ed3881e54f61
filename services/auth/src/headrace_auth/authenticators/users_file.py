"""The file of users: one per line, ``name:hash:groups:roles``; groups and roles are separated by commas."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from headrace.private_files import write_private
from headrace_auth.model import ID_BYTES, IMPLIED, is_group_id, is_user_id
from headrace_chassis.identity.caller import USER

FILE_BYTES = 32 << 20
_SEPARATORS = re.compile("[:,#]")
_LOCK_SECONDS = 10.0
_LOCK_POLL_SECONDS = 0.05


class UsersFileError(ValueError):
    """The file, or a user for it, is not valid."""


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A line of the file."""

    name: str
    password_hash: str = field(repr=False)
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = (USER,)

    def __post_init__(self) -> None:
        if _SEPARATORS.search(self.name) or not is_user_id(self.name):
            raise UsersFileError(
                f"{self.name[:80]!r} is not a user name: use 1 to {ID_BYTES} bytes without spaces : , # /"
            )
        for group in self.groups:
            if _SEPARATORS.search(group) or not is_group_id(group):
                raise UsersFileError(f"{group!r} is not a group name: use no spaces : , #")
        if unknown := set(self.roles) - IMPLIED.keys():
            raise UsersFileError(f"{', '.join(sorted(unknown))} is not a role: use {' or '.join(sorted(IMPLIED))}")


Users = Mapping[str, UserRecord]


def read_users(path: Path) -> dict[str, UserRecord]:
    """Read the file; raise UsersFileError that names the bad line."""
    users: dict[str, UserRecord] = {}
    try:
        lines = _read(path).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsersFileError(f"the users file {path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            try:
                user = _parse(line)
            except UsersFileError as error:
                raise UsersFileError(f"line {number} of the users file {path}: {error}") from None
            users[user.name] = user
    return users


@contextmanager
def editing(path: Path) -> Generator[None]:
    """Make others who edit the file wait for the length of the block, in which it is read and written.

    Raises `UsersFileError` if somebody else holds its directory for too long: whoever can read that can.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # the file itself is replaced
    try:
        with suppress(OSError):  # some network file systems lock no directories
            _lock(directory, path)
        yield
    finally:
        os.close(directory)


def _lock(directory: int, path: Path) -> None:
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return  # noqa: TRY300
        except BlockingIOError:
            if time.monotonic() > end:
                raise UsersFileError(
                    f"another process has held a lock on {path.parent} for {_LOCK_SECONDS:.3g} s; "
                    "end it, or repeat the command when it has ended"
                ) from None
        time.sleep(_LOCK_POLL_SECONDS)


def write_users(path: Path, users: Users) -> None:
    """Replace the file atomically; only its owner may read it."""
    lines = [f"{u.name}:{u.password_hash}:{','.join(u.groups)}:{','.join(u.roles)}\n" for u in users.values()]
    header = "# name:hash:groups:roles - change it with `python -m headrace_auth users`\n"
    write_private(path, header + "".join(lines))


def _read(path: Path) -> bytes:
    # Opening a named pipe would wait for its writer; reading a device may never end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UsersFileError(f"the users file {path} cannot be read: it is not a regular file")
        content = file.read(FILE_BYTES + 1)
    if len(content) > FILE_BYTES:
        raise UsersFileError(f"the users file {path} cannot be read: it is larger than {FILE_BYTES >> 20} MiB")
    return content


def _parse(line: str) -> UserRecord:
    parts = line.strip().split(":")
    if len(parts) != 4 or not parts[1].startswith("$argon2"):
        raise UsersFileError("must be name:hash:groups:roles with an argon2 hash")
    name, password_hash, groups, roles = parts
    return UserRecord(name, password_hash, _split(groups), _split(roles) or (USER,))


def _split(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)
