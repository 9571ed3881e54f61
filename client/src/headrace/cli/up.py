"""`headrace up`: runs the whole system on this machine."""

from __future__ import annotations

import importlib
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace._target.local_gateway import data_directory
from headrace.errors import HeadraceError


class Accounts(StrEnum):
    """How the operating-system account of a user's clusters is chosen."""

    NONE = "none"
    SAME_NAME = "same-name"
    POOL = "pool"


app = typer.Typer(add_completion=False)


@app.command()
def up(
    *,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1. 0 means any free port.", min=0, max=65535)] = 8790,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="HEADRACE_DATA_DIR",
            help="Directory of all data. Default: ~/.local/share/headrace.",
            file_okay=False,
        ),
    ] = None,
    keep_clusters: Annotated[
        bool, typer.Option("--keep-clusters", help="Leave clusters running at the end; the next `up` adopts them.")
    ] = False,
    users_file: Annotated[
        Path | None,
        typer.Option(help="File of further users with password hashes. It needs --accounts or --one-account."),
    ] = None,
    accounts: Annotated[
        Accounts,
        typer.Option(
            help="Run each user's clusters as an operating-system account of their own: same-name is the machine's "
            "account of that name, pool a user id from a range. It needs root.",
        ),
    ] = Accounts.NONE,
    one_account: Annotated[
        bool,
        typer.Option(
            "--one-account",
            help="Accept that clusters of all users run as your operating-system account: "
            "their code can read and change all that you can, headrace's keys included.",
        ),
    ] = False,
    policy: Annotated[
        Path | None,
        typer.Option(help="Policy file: what people may choose and use. Changes are taken up without a restart."),
    ] = None,
    development: Annotated[
        bool,
        typer.Option(
            "--development", help="Let anyone on this machine log in under any name, and run code as your account."
        ),
    ] = False,
    standby: Annotated[
        int | None, typer.Option(help="Number of warm schedulers that wait for the next clusters.", min=0, max=64)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Run the whole system on this machine until Ctrl-C.

    Everything listens on 127.0.0.1 only and speaks TLS; `Gateway()` on this machine finds it.
    """
    server = _load_server()
    options = server.UpOptions(
        data=data_dir or data_directory(),
        port=port,
        keep_clusters=keep_clusters,
        users_file=users_file,
        policy=policy,
        one_account=one_account,
        accounts=server.AccountRule(accounts),
        development=development,
        standby=standby,
        quiet=quiet,
    )
    raise typer.Exit(server.up(options, metadata.version("headrace")))


def _load_server() -> Any:
    """Load the server by its name: most machines have the client only."""
    try:
        return importlib.import_module("headrace_up.up")
    except ImportError as error:
        raise HeadraceError(
            f"the server is not installed here (no module {error.name}): pip install 'headrace[server]'"
        ) from error
