"""`headrace tokens`: long-lived secrets that stand for you, for programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from headrace._wire.connection import Connection
from headrace.cli.calling import call
from headrace.cli.options import Address, CaFile, Json
from headrace.cli.output import local_time, print_json, print_table, tell
from headrace.resource_names import api_token_name
from headrace.v1 import auth_service_pb2

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, create and revoke API tokens, for programs.")


@app.command("list")
def list_tokens(
    *,
    owner: Annotated[str, typer.Option(help="For admins: whose tokens.")] = "",
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """List your API tokens, newest first; secrets are shown at their creation only."""
    found = call(address, ca_file, lambda connection: _list_all(connection, owner))
    if as_json:
        print_json(found)
        return
    rows = [
        [
            token.name.removeprefix("apiTokens/"),
            token.note or "-",
            _roles(token),
            local_time(token.create_time),
            local_time(token.expire_time) or "never",
            local_time(token.last_use_time) or "never",
        ]
        for token in found
    ]
    print_table(["TOKEN", "NOTE", "ROLES", "CREATED", "EXPIRES", "LAST USED"], rows, empty="No API tokens.")


@app.command()
def create(
    *,
    note: Annotated[str, typer.Option(help="What it is for, in your words.")] = "",
    days: Annotated[float, typer.Option(help="Days until it expires. 0: never.", min=0)] = 0,
    role: Annotated[list[str] | None, typer.Option(help="owner or admin. By default all of yours. Repeatable.")] = None,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Create an API token and print its secret, this once."""
    token = auth_service_pb2.ApiToken(note=note, roles=[_parse_role(name) for name in role or []])
    if days:
        token.expire_time.FromDatetime(datetime.now(UTC) + timedelta(days=days))
    made = call(address, ca_file, lambda connection: _create(connection, token))
    if as_json:
        print_json(made)
        return
    tell(f"{made.api_token.name.removeprefix('apiTokens/')}: keep the secret, it is not shown again")
    print(made.secret)


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Id of the token, as `list` shows it.")],
    address: Address = None,
    ca_file: CaFile = None,
) -> None:
    """Revoke an API token. Logins made with it end within minutes."""
    name = token if token.startswith("apiTokens/") else api_token_name(token)
    request = auth_service_pb2.DeleteApiTokenRequest(name=name)

    async def action(connection: Connection) -> None:
        await connection.call(connection.auth.DeleteApiToken, request, doing=f"revoking token {token}")

    call(address, ca_file, action)
    tell(f"Revoked {token}")


def _parse_role(name: str) -> auth_service_pb2.Role.ValueType:
    try:
        return auth_service_pb2.Role.Value(f"ROLE_{name.upper()}")
    except ValueError:
        raise typer.BadParameter(f"{name!r} is not a role; there are owner and admin", param_hint="--role") from None


def _roles(token: auth_service_pb2.ApiToken) -> str:
    return ", ".join(auth_service_pb2.Role.Name(role).removeprefix("ROLE_").lower() for role in token.roles) or "all"


async def _list_all(connection: Connection, owner: str) -> list[auth_service_pb2.ApiToken]:
    name = f"users/{owner.removeprefix('users/')}" if owner else ""
    request = auth_service_pb2.ListApiTokensRequest(owner=name, page_size=1000)
    found: list[auth_service_pb2.ApiToken] = []
    while True:
        page = await connection.call(connection.auth.ListApiTokens, request, doing="listing API tokens")
        found.extend(page.api_tokens)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def _create(connection: Connection, token: auth_service_pb2.ApiToken) -> auth_service_pb2.CreateApiTokenResponse:
    request = auth_service_pb2.CreateApiTokenRequest(api_token=token)
    return await connection.call(connection.auth.CreateApiToken, request, doing="making an API token", repeat=False)
