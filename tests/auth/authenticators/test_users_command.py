"""``python -m headrace_auth users``."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from tests.auth.conftest import hashed
from typer.testing import CliRunner

from headrace_auth.__main__ import app
from headrace_auth.authenticators import users_command, users_file
from headrace_auth.authenticators.users_file import (
    FILE_BYTES,
    UserRecord,
    Users,
    UsersFileError,
    read_users,
    write_users,
)

HASH = hashed("one")


def run(*arguments: str, password: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(app, ["users", *arguments], input=password)
    return result.exit_code, result.output


def test_users_are_added_changed_listed_and_removed(tmp_path: Path) -> None:
    file = tmp_path / "users"
    options = ("--file", str(file), "--password-stdin")
    assert run("add", "ann", "--group", "astro", "--group", "gpu", *options, password="one\n") == (0, "Added ann.\n")
    assert run("add", "root", "--role", "admin", *options, password="two\n") == (0, "Added root.\n")
    assert file.stat().st_mode & 0o777 == 0o600
    assert run("list", "--file", str(file)) == (0, "ann\tastro,gpu\tuser\nroot\t-\tadmin\n")
    before = read_users(file)["ann"].password_hash
    assert run("add", "ann", *options, password="three\n") == (0, "Changed ann.\n")
    assert read_users(file)["ann"].password_hash != before
    assert run("remove", "ann", "--file", str(file)) == (0, "Removed ann.\n")
    assert list(read_users(file)) == ["root"]
    assert [path.name for path in tmp_path.iterdir()] == ["users"]


@pytest.mark.parametrize(
    ("arguments", "password", "explained"),
    [
        (("add", "a b"), "x\n", "not a user name"),
        (("add", "a:b"), "x\n", "not a user name"),
        (("add", ".."), "x\n", "not a user name"),
        (("add", "a\x1bb"), "x\n", "not a user name"),
        (("add", "ann", "--role", "king"), "x\n", "king is not a role: use admin or user"),
        (("add", "ann", "--group", "a,b"), "x\n", "not a group name"),
        (("add", "ann"), "\n", "must not be empty"),
        (("add", "ann"), "x" * 1025 + "\n", "must not be longer than 1024 bytes"),
    ],
)
def test_what_cannot_be_is_explained_and_changes_nothing(
    tmp_path: Path, arguments: tuple[str, ...], password: str, explained: str
) -> None:
    file = tmp_path / "users"
    code, output = run(*arguments, "--file", str(file), "--password-stdin", password=password)
    assert code == 1
    assert explained in output
    assert not file.exists()


def test_removing_nobody_is_explained(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("")
    assert run("remove", "ann", "--file", str(tmp_path / "users"))[0] == 1


def test_a_user_who_is_removed_while_a_password_is_read_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "users"
    write_users(file, {name: UserRecord(name, HASH) for name in ("bob", "root")})

    def hash_late(_self: PasswordHasher, _password: str) -> str:
        users_command.remove("bob", file)
        return HASH

    monkeypatch.setattr(PasswordHasher, "hash", hash_late)
    assert run("add", "ann", "--file", str(file), "--password-stdin", password="one\n")[0] == 0
    assert read_users(file).keys() == {"ann", "root"}


def test_two_who_edit_at_once_undo_nothing_of_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "users"
    write_users(file, {name: UserRecord(name, HASH) for name in ("ann", "bob", "root")})
    writing, go_on = threading.Event(), threading.Event()

    def write_late(path: Path, users: Users) -> None:
        if "bob" in users:
            writing.set()
            go_on.wait()
        write_users(path, users)

    monkeypatch.setattr(users_command, "write_users", write_late)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(users_command.remove, "ann", file)
        writing.wait()
        second = threads.submit(users_command.remove, "bob", file)
        wait([second], timeout=0.3)
        go_on.set()
        first.result()
        second.result()
    assert read_users(file).keys() == {"root"}


def test_a_directory_that_somebody_keeps_locked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_file, "_LOCK_SECONDS", 0.1)
    file = tmp_path / "users"
    write_users(file, {"ann": UserRecord("ann", HASH)})
    with users_file.editing(file):
        code, said = run("remove", "ann", "--file", str(file))
    assert code == 1
    assert f"another process has held a lock on {tmp_path} for 0.1 s" in said
    assert read_users(file).keys() == {"ann"}
    assert run("remove", "ann", "--file", str(file)) == (0, "Removed ann.\n")


@pytest.mark.parametrize("line", ["ann", "ann:plaintext::", "ann:$argon2id$x:a b:user", "ann:$argon2id$x::king"])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "users"
    file.write_text(f"# comment\n\n{line}\n")
    with pytest.raises(UsersFileError, match="line 3"):
        read_users(file)


def test_a_file_that_would_never_end_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", FILE_BYTES + 1)
    for file, explained in (("pipe", "not a regular file"), ("/dev/zero", "not a regular file"), ("large", "larger")):
        with pytest.raises(UsersFileError, match=explained):
            read_users(tmp_path / file)
