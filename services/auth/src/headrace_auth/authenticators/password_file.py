"""Users from a file with hashed passwords (argon2)."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from headrace.errors import BadCredentials
from headrace_auth.authenticators.base import Parts
from headrace_auth.model import all_roles
from headrace_auth.users_file import UserRecord, UsersFileError, read_users
from headrace_chassis.identity.caller import Caller
from headrace_chassis.logs import get_logger

# Each check takes 64 MiB and a core for a while: no more than this at once.
THREADS = 2

log = get_logger()


class PasswordFile:
    """Checks passwords against the file, which is read again when it has changed."""

    method = "password"

    def __init__(self, path: Path, threads: ThreadPoolExecutor) -> None:
        self._path = path
        self._threads = threads
        self._hasher = PasswordHasher()
        self._version = _version(path)
        self._users = read_users(path)
        # Verified for names that nobody has, so that these take as long.
        self._nobody = self._hasher.hash(os.urandom(16))

    async def check_password(self, username: str, password: str) -> Caller:
        user = await asyncio.get_running_loop().run_in_executor(self._threads, self._verify, username, password)
        if user is None:
            raise BadCredentials("wrong user name or password")
        return self._caller(user)

    async def find_user(self, user: str) -> Caller | None:
        users = await asyncio.get_running_loop().run_in_executor(None, self._current)
        record = users.get(user)
        return self._caller(record) if record else None

    def _verify(self, username: str, password: str) -> UserRecord | None:
        user = self._current().get(username)
        try:
            self._hasher.verify(user.password_hash if user else self._nobody, password)
        except (VerificationError, InvalidHashError):
            return None
        return user

    def _current(self) -> dict[str, UserRecord]:
        version = _version(self._path)
        if version != self._version:
            self._version = version
            try:
                self._users = read_users(self._path)
                log.info("users read", file=str(self._path), users=len(self._users))
            except UsersFileError as error:
                log.error("users file not usable, going on with the users known", error=str(error))  # noqa: TRY400
        return self._users

    def _caller(self, user: UserRecord) -> Caller:
        return Caller(user.name, user.groups, all_roles(user.roles), self.method)


def _version(path: Path) -> tuple[int, int, int]:
    """Changes whenever the file does."""
    try:
        stat = path.stat()
    except OSError:
        return (0, 0, 0)
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def build(parts: Parts) -> PasswordFile | None:
    """Builds it; named as an entry point in this distribution's pyproject.toml."""
    if parts.settings.users_file is None:
        return None
    threads = parts.stack.enter_context(ThreadPoolExecutor(THREADS, thread_name_prefix="password"))
    return PasswordFile(parts.settings.users_file, threads)
