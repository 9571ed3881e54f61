"""`headrace login`: exchanges a credential for an API token, and saves the token."""

from __future__ import annotations

import dataclasses
import getpass
import platform
import sys
from typing import Annotated

import typer

from headrace._target.auth import BasicAuth, GatewayAuth, TokenAuth
from headrace._target.saved_login import SavedLogin, logins_file
from headrace._target.target import Target
from headrace._wire import auth_calls
from headrace._wire.connection import Connection
from headrace.cli.calling import call_target
from headrace.cli.default_address import config_file, set_default
from headrace.cli.options import CaFile
from headrace.errors import HeadraceError
from headrace.v1 import auth_service_pb2 as pb

app = typer.Typer(add_completion=False)

API_TOKEN_METHOD = "api-token"  # noqa: S105 - the name of a way to log in
API_TOKEN_PREFIX = "hr_"  # noqa: S105 - all API tokens begin with it

Where = Annotated[str | None, typer.Argument(help="Address of headrace.", envvar="DASK_HEADRACE__ADDRESS")]
User = Annotated[str | None, typer.Option("--user", help="Name of the user. Default: it is asked for.")]
Method = Annotated[str, typer.Option("--method", help="Way to log in. Default: any that takes the password or token.")]
PasswordFromInput = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
TokenFromInput = Annotated[bool, typer.Option("--token-stdin", help="Read a token from standard input.")]


@app.command()
def login(
    address: Where = None,
    *,
    user: User = None,
    method: Method = "",
    password_stdin: PasswordFromInput = False,
    token_stdin: TokenFromInput = False,
    ca_file: CaFile = None,
    default: Annotated[bool, typer.Option(help="Make it the address of Gateway() without arguments.")] = True,
) -> None:
    """Log in at an address and remember it.

    The credential is used once, to make an API token. Only the token is saved, in a file that only you can read.
    """
    # Which credential the server takes is known after a first call, which needs none.
    target = Target.resolve(
        address=address, ca_file=str(ca_file.absolute()) if ca_file else None, auth=BasicAuth(user or "")
    )
    info = call_target(target, auth_calls.server_info)
    kind = _choose_kind(info, method, token=token_stdin, password=password_stdin or user is not None)
    auth = _ask(kind, user, method, from_input=password_stdin or token_stdin)
    saved = call_target(dataclasses.replace(target, auth=auth), _exchange)
    saved.write()
    print(f"Logged in at {saved.address} as {saved.user}; the token is in {logins_file()}")
    if default and not set_default(saved.address):
        print(
            f"{config_file()} is your own file and stays unchanged: set headrace.address to {saved.address} there, "
            "or give the address to Gateway()"
        )


def _choose_kind(info: pb.ServerInfo, method: str, *, token: bool, password: bool) -> pb.CredentialKind.ValueType:
    """Return the kind of credential to ask for: the one that the arguments name, else a password if one is taken."""
    offered = [one for one in info.login_methods if method in {"", one.method}]
    if method and not offered:
        ways = ", ".join(one.method for one in info.login_methods) or "none"
        raise HeadraceError(f"this headrace has no way to log in named {method!r}; it offers {ways}")
    if token:
        return pb.CREDENTIAL_KIND_TOKEN
    kinds = {one.credential_kind for one in offered}
    if password or not kinds or pb.CREDENTIAL_KIND_PASSWORD in kinds:
        return pb.CREDENTIAL_KIND_PASSWORD
    return pb.CREDENTIAL_KIND_TOKEN


def _ask(kind: pb.CredentialKind.ValueType, user: str | None, method: str, *, from_input: bool) -> GatewayAuth:
    if kind == pb.CREDENTIAL_KIND_TOKEN:
        token = sys.stdin.readline().strip() if from_input else typer.prompt("Token", hide_input=True)
        return TokenAuth(token=token, method=method)
    if from_input:
        return BasicAuth(user, sys.stdin.readline().rstrip("\n"), method)
    user = user or typer.prompt("User", default=getpass.getuser())
    return BasicAuth(user, typer.prompt("Password", hide_input=True, default="", show_default=False), method)


async def _exchange(connection: Connection) -> SavedLogin:
    user, target = await auth_calls.whoami(connection), connection.target
    return SavedLogin(
        address=target.address,
        user=user.name.removeprefix("users/"),
        token=_own_token(target.auth) or await _create_token(connection),
        ca_file=target.ca_file,
    )


def _own_token(auth: GatewayAuth) -> str:
    """Return the token that was given, if it is an API token of headrace and not one of another system."""
    if not isinstance(auth, TokenAuth) or not auth.token:
        return ""
    return auth.token if auth.method == API_TOKEN_METHOD or auth.token.startswith(API_TOKEN_PREFIX) else ""


async def _create_token(connection: Connection) -> str:
    token = pb.ApiToken(note=f"headrace login on {platform.node()}")
    return (await auth_calls.create_api_token(connection, token)).secret
