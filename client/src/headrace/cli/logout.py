"""`headrace logout`: removes what `headrace login` has saved."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace._target.saved_login import SavedLogin
from headrace._target.target import parse_address
from headrace._wire import auth_calls
from headrace.cli.calling import call
from headrace.cli.default_address import remove_default
from headrace.errors import NotFound

app = typer.Typer(add_completion=False)


@app.command()
def logout(
    address: Annotated[str, typer.Argument(help="Address of headrace.", envvar="DASK_HEADRACE__ADDRESS")],
    *,
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="Also end your sessions at dashboards, in all browsers.")
    ] = False,
) -> None:
    """Remove the saved login at an address. The token stays valid until `headrace tokens revoke`."""
    address = str(parse_address(address))
    if everywhere:
        call(address, None, auth_calls.end_dashboard_sessions)
    if not SavedLogin.remove(address):
        raise NotFound(f"there is no saved login at {address}")
    remove_default(address)
    print(f"Removed the login at {address}")
