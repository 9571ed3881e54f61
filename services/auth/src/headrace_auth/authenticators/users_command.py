"""``users add|remove|list``: edits the users file."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from argon2 import PasswordHasher

from headrace_auth.authenticators.users_file import UserRecord, UsersFileError, editing, read_users, write_users
from headrace_auth.model import PASSWORD_BYTES

users = typer.Typer(help="Edit the file of users with passwords.", no_args_is_help=True)

UsersFile = Annotated[
    Path,
    typer.Option(
        "--file",
        envvar="HEADRACE_AUTH_AUTHENTICATORS__PASSWORD__USERS_FILE",
        help="The file; created if it is missing.",
    ),
]
Name = Annotated[str, typer.Argument(help="Name of the user.")]


@users.command()
def add(
    name: Name,
    file: UsersFile,
    group: Annotated[list[str], typer.Option(help="A group of the user; may be repeated.")] = [],  # noqa: B006 typer's way
    role: Annotated[list[str], typer.Option(help="user or admin; may be repeated.")] = ["user"],  # noqa: B006
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from the first line of standard input.")
    ] = False,
) -> None:
    """Add a user, or change the password, groups and roles of one."""
    with _explained():
        _read(file)  # whatever is wrong with it or the user is said before a password is asked for
        record = UserRecord(name, "", tuple(group), tuple(role))
        password = sys.stdin.readline().rstrip("\n") if password_stdin else _ask()
        if not password:
            raise UsersFileError("the password must not be empty")
        if len(password.encode()) > PASSWORD_BYTES:
            raise UsersFileError(f"the password must not be longer than {PASSWORD_BYTES} bytes")
        record = UserRecord(name, PasswordHasher().hash(password), record.groups, record.roles)
        with editing(file):
            known = _read(file)
            write_users(file, {**known, name: record})
    typer.echo(f"{'Changed' if name in known else 'Added'} {name}.")


@users.command()
def remove(name: Name, file: UsersFile) -> None:
    """Remove a user. API tokens stop at once, dashboard sessions within half a minute, access tokens within minutes."""
    with _explained(), editing(file):
        known = _read(file)
        if known.pop(name, None) is None:
            raise UsersFileError(f"there is no user {name} in {file}")
        write_users(file, known)
    typer.echo(f"Removed {name}.")


@users.command("list")
def list_users(file: UsersFile) -> None:
    """List the users with their groups and roles."""
    with _explained():
        for user in read_users(file).values():
            typer.echo(f"{user.name}\t{','.join(user.groups) or '-'}\t{','.join(user.roles)}")


def _read(file: Path) -> dict[str, UserRecord]:
    return read_users(file) if file.exists() else {}


def _ask() -> str:
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password


@contextmanager
def _explained() -> Generator[None]:
    try:
        yield
    except (UsersFileError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
