"""`headrace whoami`."""

from __future__ import annotations

import typer

from headrace._wire import auth_calls
from headrace._wire.words import word
from headrace.cli.calling import call
from headrace.cli.options import Address, CaFile, Json
from headrace.cli.output import print_json
from headrace.v1 import auth_service_pb2

app = typer.Typer(add_completion=False)


@app.command()
def whoami(address: Address = None, ca_file: CaFile = None, as_json: Json = False) -> None:
    """Show who you are for headrace."""
    user = call(address, ca_file, auth_calls.whoami)
    if as_json:
        print_json(user)
        return
    roles = ", ".join(word(auth_service_pb2.Role.DESCRIPTOR, role).lower() for role in user.roles)
    groups = ", ".join(group.removeprefix("groups/") for group in user.groups)
    in_groups = f", in {groups}" if groups else ""
    print(f"{user.name.removeprefix('users/')} ({roles or 'no roles'}{in_groups}), by {user.method}")
