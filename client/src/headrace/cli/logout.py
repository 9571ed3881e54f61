"""`headrace logout`: removes what `headrace login` has saved."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace._target.saved_login import SavedLogin
from headrace._target.target import join_host_port, parse_address
from headrace.cli.default_address import remove_default
from headrace.errors import NotFound

app = typer.Typer(add_completion=False)


@app.command()
def logout(
    address: Annotated[str, typer.Argument(help="Address of headrace.", envvar="DASK_HEADRACE__ADDRESS")],
) -> None:
    """Remove the saved login at an address. The token stays valid until `headrace tokens revoke`."""
    host, port, tls = parse_address(address)
    address = f"{'https' if tls else 'http'}://{join_host_port(host, port)}"
    if not SavedLogin.remove(address):
        raise NotFound(f"there is no saved login at {address}")
    remove_default(address)
    print(f"Removed the login at {address}")
