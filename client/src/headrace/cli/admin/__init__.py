"""`headrace admin`: what administrators do. One module for each subcommand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import typer

from headrace.cli.lazy_group import LazyGroup


class AdminGroup(LazyGroup):
    """Loads the subcommand that is used."""

    lines: ClassVar[Mapping[str, str]] = {
        "audit": "Show who did what to which cluster, when, from where, by which token.",
        "cull": "List what culling would do, or do at once what it has warned of.",
        "limits": "Give a user or a group other limits than the policy's for a while.",
        "policy": "Show the policy in force, and what another one would change.",
    }
    package: ClassVar[str] = "headrace.cli.admin"


app = typer.Typer(
    cls=AdminGroup,
    add_completion=False,
    no_args_is_help=True,
    help="For administrators: the policy, limits, the audit log, culling.",
)


@app.callback()
def root() -> None:
    """For administrators: the policy, limits, the audit log, culling."""
