"""Users from a file."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest
from argon2 import Parameters, PasswordHasher, extract_parameters
from tests.auth.conftest import HASHER, hashed

from headrace.errors import BadCredentials
from headrace_auth.authenticators import password_file
from headrace_auth.authenticators.base import ChecksPasswords, ChecksTokens, Identity, KnowsUsers
from headrace_auth.authenticators.password_file import PasswordFile
from headrace_auth.authenticators.users_file import UserRecord, UsersFileError, read_users, write_users

ANN = Identity("ann", ("astro",), frozenset({"user"}))


class CountingHasher(PasswordHasher):
    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified: list[Parameters] = []

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 its name there
        self.verified.append(extract_parameters(str(hash)))
        return HASHER.verify(hash, password)


@pytest.fixture
def hasher() -> CountingHasher:
    return CountingHasher()


@pytest.fixture
def file(users_file: Path, hasher: CountingHasher) -> Iterator[PasswordFile]:
    with ThreadPoolExecutor(1) as threads:
        yield PasswordFile(users_file, threads, hasher)


def test_it_checks_passwords_and_knows_its_users(file: PasswordFile) -> None:
    assert isinstance(file, ChecksPasswords)
    assert isinstance(file, KnowsUsers)
    assert not isinstance(file, ChecksTokens)


async def test_the_right_password_gives_the_user(file: PasswordFile) -> None:
    assert await file.check_password("ann", "ann's") == ANN


async def test_a_wrong_password_of_a_known_user_is_refused_and_an_unknown_name_passed_on(file: PasswordFile) -> None:
    with pytest.raises(BadCredentials):
        await file.check_password("ann", "wrong")
    assert await file.check_password("nobody", "wrong") is None


async def test_an_unknown_name_costs_a_verification_as_a_wrong_password_does(
    file: PasswordFile, hasher: CountingHasher
) -> None:
    await file.check_password("nobody", "wrong")
    with pytest.raises(BadCredentials):
        await file.check_password("ann", "wrong")
    unknown, wrong = hasher.verified
    assert unknown == wrong


async def test_a_changed_file_is_read_again_and_a_broken_one_is_not(file: PasswordFile, users_file: Path) -> None:
    users = read_users(users_file)
    del users["ann"]
    write_users(users_file, {**users, "eve": UserRecord("eve", hashed("eve's"))})
    assert await file.find_user("ann") is None
    assert await file.find_user("eve") == Identity("eve")
    users_file.write_text("nonsense\n")  # noqa: ASYNC240 a small file
    assert await file.find_user("eve") == Identity("eve")
    users_file.unlink()  # noqa: ASYNC240
    assert await file.find_user("eve") == Identity("eve")


async def test_nobody_is_found_who_was_removed_before_another_call_has_read_the_file(
    file: PasswordFile, users_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()

    def read_late(path: Path) -> dict[str, UserRecord]:
        reading.set()
        go_on.wait()
        return read_users(path)

    users = read_users(users_file)
    del users["ann"]
    monkeypatch.setattr(password_file, "read_users", read_late)
    write_users(users_file, users)
    first = asyncio.ensure_future(file.find_user("ann"))
    await asyncio.to_thread(reading.wait)
    second = asyncio.ensure_future(file.find_user("ann"))
    await asyncio.wait([second], timeout=0.3)
    go_on.set()
    assert await first is None
    assert await second is None


def test_without_a_file_it_does_not_start(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads, pytest.raises(UsersFileError, match="cannot be read"):
        PasswordFile(tmp_path / "missing", threads, HASHER)


async def test_a_hash_of_another_kind_lets_nobody_in(file: PasswordFile, users_file: Path) -> None:
    write_users(users_file, {"ann": UserRecord("ann", "$argon2id$broken")})
    with pytest.raises(BadCredentials):
        await file.check_password("ann", "ann's")
