"""`headrace top`: a live view in the terminal of clusters, users and what waits for room."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace._wire import auth_calls
from headrace._wire.connection import Connection
from headrace.cli.calling import call
from headrace.cli.options import Address, CaFile
from headrace.errors import HeadraceError
from headrace.v1 import auth_service_pb2

app = typer.Typer(add_completion=False)


@app.command()
def top(
    *,
    owner: Annotated[
        str, typer.Option("--owner", help='For admins: owner of the clusters. Default: "-", which means all users.')
    ] = "",
    address: Address = None,
    ca_file: CaFile = None,
) -> None:
    """Show your clusters as they change; admins see those of all users. Ends with q."""
    try:
        from headrace.cli.top.screen import Top
    except ModuleNotFoundError as error:
        if error.name != "textual":
            raise
        raise HeadraceError(
            "`headrace top` needs textual, which is not installed here: pip install 'headrace[top]'. "
            "`headrace clusters list` shows the same clusters once"
        ) from None

    async def show(connection: Connection) -> None:
        user = await auth_calls.whoami(connection)
        everyone = "-" if auth_service_pb2.ROLE_ADMIN in user.roles else ""
        if failure := await Top(connection, owner or everyone).run_async():
            raise failure

    call(address, ca_file, show)
