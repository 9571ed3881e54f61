"""`headrace login`: a credential once, an API token from then on."""

from __future__ import annotations

import getpass
import platform
import sys
from typing import Annotated

import typer

from headrace._target.auth import BasicAuth, GatewayAuth, TokenAuth
from headrace._target.saved_login import SavedLogin, logins_file
from headrace._target.target import Target
from headrace._wire.connection import Connection
from headrace.cli.calling import call_target
from headrace.cli.default_address import config_file, set_default
from headrace.cli.options import CaFile
from headrace.cli.whoami import who_am_i
from headrace.v1 import auth_service_pb2

app = typer.Typer(add_completion=False)

Where = Annotated[str | None, typer.Argument(help="Where headrace answers.", envvar="DASK_HEADRACE__ADDRESS")]

User = Annotated[str | None, typer.Option("--user", help="Name of the user. By default it is asked for.")]
PasswordFromInput = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
TokenFromInput = Annotated[
    bool, typer.Option("--token-stdin", help="Log in with an API token, read from standard input.")
]


@app.command()
def login(
    address: Where = None,
    *,
    user: User = None,
    password_stdin: PasswordFromInput = False,
    token_stdin: TokenFromInput = False,
    ca_file: CaFile = None,
    default: Annotated[bool, typer.Option(help="Let Gateway() go there when it is given no address.")] = True,
) -> None:
    """Log in at an address and remember it.

    The password is used once, to make an API token; only the token is kept, in a file that only you can read.
    """
    if token_stdin:
        auth: GatewayAuth = TokenAuth(token=sys.stdin.readline().strip())
    else:
        auth = _ask(user, from_input=password_stdin)
    target = Target.resolve(address=address, ca_file=str(ca_file.absolute()) if ca_file else None, auth=auth)
    saved = call_target(target, _exchange)
    saved.write()
    print(f"Logged in at {saved.address} as {saved.user}; the token is in {logins_file()}")
    if default and not set_default(saved.address):
        print(f"{config_file()} decides where Gateway() goes: put {saved.address} there, or write Gateway(address)")


def _ask(user: str | None, *, from_input: bool) -> BasicAuth:
    if from_input:
        return BasicAuth(user, sys.stdin.readline().rstrip("\n"))
    user = user or typer.prompt("User", default=getpass.getuser())
    return BasicAuth(user, typer.prompt("Password", hide_input=True, default="", show_default=False))


async def _exchange(connection: Connection) -> SavedLogin:
    user = await who_am_i(connection)
    target = connection.target
    secret = target.auth.token if isinstance(target.auth, TokenAuth) else await _make_token(connection)
    return SavedLogin(
        address=target.address, user=user.name.removeprefix("users/"), token=secret or "", ca_file=target.ca_file
    )


async def _make_token(connection: Connection) -> str:
    token = auth_service_pb2.ApiToken(note=f"headrace login on {platform.node()}")
    request = auth_service_pb2.CreateApiTokenRequest(api_token=token)
    made = await connection.call(connection.auth.CreateApiToken, request, doing="making an API token", repeat=False)
    return made.secret
