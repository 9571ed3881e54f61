"""The command `headrace`, before any of its subcommands is loaded."""

from __future__ import annotations

import os
import sys

import typer

from headrace.cli.lazy_group import LazyGroup
from headrace.errors import HeadraceError

app = typer.Typer(
    cls=LazyGroup,
    name="headrace",
    help="Your own Dask clusters on a shared platform.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"auto_envvar_prefix": "HEADRACE", "help_option_names": ["-h", "--help"]},
    epilog="Each option can be set by an environment variable: HEADRACE_CLUSTERS_CREATE_NAME is --name of "
    "`clusters create`. HEADRACE_DEBUG=1 shows the traceback of an error.",
)


@app.callback()
def root() -> None:
    """Has no options of its own."""


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 wrong usage. Errors are printed without a traceback."""
    try:
        app()
    except Exception as error:
        if os.environ.get("HEADRACE_DEBUG"):
            raise
        text = error if isinstance(error, HeadraceError | OSError) else f"{type(error).__name__}: {error}"
        print(f"headrace: {text}", file=sys.stderr)
        sys.exit(1)
