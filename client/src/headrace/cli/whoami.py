"""`headrace whoami`."""

from __future__ import annotations

import typer

from headrace._wire.connection import Connection
from headrace.cli.calling import call
from headrace.cli.options import Address, CaFile, Json
from headrace.cli.output import print_json
from headrace.v1 import auth_service_pb2

app = typer.Typer(add_completion=False)


@app.command()
def whoami(address: Address = None, ca_file: CaFile = None, as_json: Json = False) -> None:
    """Tell who you are to headrace."""
    user = call(address, ca_file, who_am_i)
    if as_json:
        print_json(user)
        return
    roles = ", ".join(auth_service_pb2.Role.Name(role).removeprefix("ROLE_").lower() for role in user.roles)
    groups = f", in {', '.join(user.groups)}" if user.groups else ""
    print(f"{user.name.removeprefix('users/')} ({roles or 'no roles'}{groups}), by {user.method}")


async def who_am_i(connection: Connection) -> auth_service_pb2.User:
    """Asks."""
    request = auth_service_pb2.WhoAmIRequest()
    return await connection.call(connection.auth.WhoAmI, request, doing="asking who you are")
