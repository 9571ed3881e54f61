"""Users from a file with hashed passwords (argon2)."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from threading import Lock

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import Field

from headrace.errors import BadCredentials
from headrace_auth.authenticators.base import AuthenticatorSettings, Identity
from headrace_auth.authenticators.users_file import UserRecord, UsersFileError, read_users
from headrace_chassis.logs import get_logger

# Each check uses 64 MiB and a core for some 50 ms.
THREADS = 2

log = get_logger()


class Settings(AuthenticatorSettings):
    """Settings of the file of users."""

    label: str = "Password"
    users_file: Path = Field(
        description="File of users with hashed passwords; see `python -m headrace_auth users --help`."
    )


class PasswordFile:
    """Checks passwords with the file. A changed file is read again."""

    def __init__(self, path: Path, threads: ThreadPoolExecutor, hasher: PasswordHasher) -> None:
        self._path = path
        self._threads = threads
        self._hasher = hasher
        self._version = _version(path)
        self._users = read_users(path)
        self._reading = Lock()
        # Verified for unknown names, so that these take as long as a wrong password.
        self._nobody = _hash_of_no_password(hasher)

    async def check_password(self, username: str, password: str) -> Identity | None:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._verify, username, password)

    async def find_user(self, name: str) -> Identity | None:
        users = await asyncio.get_running_loop().run_in_executor(None, self._current)
        return _identity(users.get(name))

    def _verify(self, username: str, password: str) -> Identity | None:
        user = self._current().get(username)
        try:
            self._hasher.verify(user.password_hash if user else self._nobody, password)
        except (VerificationError, InvalidHashError):
            if user is not None:
                raise BadCredentials("wrong password") from None
        return _identity(user)

    def _current(self) -> dict[str, UserRecord]:
        with self._reading:  # or a second thread would go on with the users that were before
            version = _version(self._path)
            if version != self._version:
                self._version = version
                try:
                    self._users = read_users(self._path)
                    log.info("users read", file=str(self._path), users=len(self._users))
                except UsersFileError as error:
                    log.error("the changed users file cannot be used; the old users stay in use", error=str(error))  # noqa: TRY400
            return self._users


def _hash_of_no_password(hasher: PasswordHasher) -> str:
    """Return a hash that costs what the hasher's own cost to verify, and nothing to make."""
    salt, digest = (b64encode(os.urandom(size)).decode().rstrip("=") for size in (hasher.salt_len, hasher.hash_len))
    return f"$argon2id$v=19$m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}${salt}${digest}"


def _identity(user: UserRecord | None) -> Identity | None:
    return Identity(user.name, user.groups, frozenset(user.roles)) if user else None


def _version(path: Path) -> tuple[int, int, int]:
    """Return something that changes with the file."""
    try:
        stat = path.stat()
    except OSError:
        return (0, 0, 0)
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def create(settings: Settings, stack: AsyncExitStack) -> PasswordFile:
    threads = stack.enter_context(ThreadPoolExecutor(THREADS, thread_name_prefix="password"))
    return PasswordFile(settings.users_file, threads, PasswordHasher())
