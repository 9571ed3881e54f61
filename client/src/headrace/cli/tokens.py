"""`headrace tokens`: long-lived secrets that programs log in with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from headrace._wire import auth_calls
from headrace._wire.words import word
from headrace.cli.calling import call
from headrace.cli.options import Address, CaFile, Json
from headrace.cli.output import local_time, print_json, print_note, print_table
from headrace.resource_names import api_token_name
from headrace.v1 import auth_service_pb2

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, create and revoke API tokens, for programs.")


@app.command("list")
def list_tokens(
    *,
    owner: Annotated[str, typer.Option(help="For admins: owner of the tokens. Default: you.")] = "",
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """List your API tokens, newest first. A secret is shown only when its token is created."""
    found = call(address, ca_file, lambda connection: auth_calls.list_api_tokens(connection, owner))
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
    note: Annotated[str, typer.Option(help="What the token is for.")] = "",
    days: Annotated[float, typer.Option(help="Days until it expires. 0 means never.", min=0)] = 0,
    role: Annotated[list[str] | None, typer.Option(help="user or admin. Default: all of yours. Repeatable.")] = None,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Create an API token and print its secret. It is not shown again."""
    token = auth_service_pb2.ApiToken(note=note, roles=[_parse_role(name) for name in role or []])
    if days:
        token.expire_time.FromDatetime(datetime.now(UTC) + timedelta(days=days))
    created = call(address, ca_file, lambda connection: auth_calls.create_api_token(connection, token))
    if as_json:
        print_json(created)
        return
    print_note(f"{created.api_token.name.removeprefix('apiTokens/')}: keep the secret, it is not shown again")
    print(created.secret)


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Id of the token, as `list` shows it.")],
    address: Address = None,
    ca_file: CaFile = None,
) -> None:
    """Revoke an API token. Logins made with it end within minutes, and your sessions at dashboards within seconds."""
    name = token if token.startswith("apiTokens/") else api_token_name(token)
    call(address, ca_file, lambda connection: auth_calls.delete_api_token(connection, name))
    print_note(f"Revoked {token}")


def _parse_role(name: str) -> auth_service_pb2.Role.ValueType:
    try:
        return auth_service_pb2.Role.Value(f"ROLE_{name.upper()}")
    except ValueError:
        raise typer.BadParameter(f"{name!r} is none of user, admin", param_hint="--role") from None


def _roles(token: auth_service_pb2.ApiToken) -> str:
    return ", ".join(word(auth_service_pb2.Role.DESCRIPTOR, role).lower() for role in token.roles) or "all"
