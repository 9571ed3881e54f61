"""The file of users: a line each, ``name:hash:groups:roles``, groups and roles with commas between."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace_auth.model import IMPLIED

NAME_BYTES = 256
_PART = re.compile(r"[^\s:,#/]+(/[^\s:,#/]+)*")


class UsersFileError(ValueError):
    """The file, or what is to be written into it, is not as it must be."""


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A line of the file."""

    name: str
    password_hash: str = field(repr=False)
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ("owner",)

    def __post_init__(self) -> None:
        if not _PART.fullmatch(self.name) or "/" in self.name or len(self.name.encode()) > NAME_BYTES:
            raise UsersFileError(f"{self.name[:80]!r} is no user name: 1 to {NAME_BYTES} bytes, no space : , # or /")
        for group in self.groups:
            if not _PART.fullmatch(group):
                raise UsersFileError(f"{group!r} is no group name: no space : , or #")
        if unknown := set(self.roles) - IMPLIED.keys():
            raise UsersFileError(f"{', '.join(sorted(unknown))}: there are the roles {', '.join(sorted(IMPLIED))} only")


Users = Mapping[str, UserRecord]


def read_users(path: Path) -> dict[str, UserRecord]:
    """Reads the file; raises UsersFileError that names the bad line."""
    users: dict[str, UserRecord] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
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


def write_users(path: Path, users: Users) -> None:
    """Replaces the file in one step; only its owner may read it."""
    lines = [f"{u.name}:{u.password_hash}:{','.join(u.groups)}:{','.join(u.roles)}\n" for u in users.values()]
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("# name:hash:groups:roles - change it with `python -m headrace_auth users`\n")
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _parse(line: str) -> UserRecord:
    parts = line.strip().split(":")
    if len(parts) != 4 or not parts[1].startswith("$argon2"):
        raise UsersFileError("must be name:hash:groups:roles with an argon2 hash")
    name, password_hash, groups, roles = parts
    return UserRecord(name, password_hash, _split(groups), _split(roles) or ("owner",))


def _split(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)
