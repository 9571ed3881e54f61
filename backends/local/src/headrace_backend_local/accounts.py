"""The operating-system account that the processes of a user's clusters run as."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headrace.private_files import write_private
from headrace_backend_local import paths
from headrace_backend_local.account_rule import AccountRule
from headrace_backend_local.protocol import Account


class NoAccount(Exception):
    """A user has no account that their processes may run as. The message says what to do."""


class Accounts(Protocol):
    """Finds accounts; may block."""

    def of(self, owner: str, work: Path) -> Account:
        """Returns the account of a user whose cluster has this working directory; raises `NoAccount`."""
        ...


@dataclass(frozen=True, slots=True)
class SameName:
    """The account that is called as the user."""

    minimum_uid: int

    def of(self, owner: str, work: Path) -> Account:  # noqa: ARG002 accounts have homes of their own
        try:
            found = pwd.getpwnam(owner)
        except (KeyError, ValueError):
            raise NoAccount(
                f"this machine has no account {owner!r}, as which the processes of user {owner} would run: "
                f"ask the administrator to create it"
            ) from None
        if found.pw_name != owner:  # some directories ignore case, and two users would share an account
            raise NoAccount(f"user {owner} has no account of exactly that name: the machine's is {found.pw_name!r}")
        if found.pw_uid < self.minimum_uid:
            raise NoAccount(
                f"account {owner!r} has user id {found.pw_uid}, and clusters run as {self.minimum_uid} or higher only: "
                f"log in to headrace as another user, or set backends.local.minimum_uid"
            )
        groups = os.getgrouplist(owner, found.pw_gid)
        return Account(name=owner, uid=found.pw_uid, gid=found.pw_gid, groups=groups, home=found.pw_dir)


@dataclass(frozen=True, slots=True)
class Pool:
    """A user id for each user, from a range that nothing else uses. It is kept: a user has the same one again.

    Attributes
    ----------
    directory
        The local directory.
    ids
        The range.
    """

    directory: Path
    ids: range

    def of(self, owner: str, work: Path) -> Account:
        uid = self._uid(owner)
        return Account(name=f"uid-{uid}", uid=uid, gid=uid, groups=[], home=str(work))

    def _uid(self, owner: str) -> int:
        path = paths.accounts(self.directory)
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = _read(path)
            if owner not in known:
                known[owner] = self._next(owner, known)
                write_private(path, json.dumps(known, indent=1).encode())
            return known[owner]
        finally:
            os.close(lock)

    def _next(self, owner: str, known: Mapping[str, int]) -> int:
        uid = max(self.ids.start, max(known.values(), default=0) + 1)
        if uid not in self.ids:
            raise NoAccount(
                f"there is no user id left for {owner}: ask the administrator for a larger backends.local.pool_size"
            )
        return uid


def accounts(rule: AccountRule, directory: Path, *, minimum_uid: int, pool: range) -> Accounts | None:
    """Returns what finds the accounts; None if all processes run as the account of headrace itself."""
    match rule:
        case AccountRule.NONE:
            return None
        case AccountRule.SAME_NAME:
            return SameName(minimum_uid)
        case AccountRule.POOL:
            return Pool(directory, pool)


def _read(path: Path) -> dict[str, int]:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise NoAccount(
            f"the file {path}, which says what user id each user has, is damaged: ask the administrator to restore it "
            f"({error})"
        ) from None
