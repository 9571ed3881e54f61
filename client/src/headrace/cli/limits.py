"""`headrace limits`."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace._wire import limits_calls
from headrace.cli.calling import call
from headrace.cli.options import Address, CaFile, Json
from headrace.cli.output import print_json, print_table
from headrace.sizes import describe_amount

app = typer.Typer(add_completion=False)


@app.command()
def limits(
    *,
    user: Annotated[str, typer.Option("--user", help="Whose limits. Others than yours need an admin.")] = "",
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Show the limits that bind your clusters, what is used and what is left."""
    found = call(address, ca_file, lambda connection: limits_calls.limits(connection, user))
    if as_json:
        print_json(found)
        return
    rows = [
        [
            limit.subject,
            limit.resource,
            describe_amount(limit.resource, limit.limit),
            describe_amount(limit.resource, limit.used),
            describe_amount(limit.resource, max(0.0, limit.limit - limit.used)),
        ]
        for limit in found.limits
    ]
    columns = ["OF", "RESOURCE", "LIMIT", "USED", "LEFT"]
    print_table(columns, rows, empty="No limits bind your clusters.", numbers=columns[2:])
    if found.queue_length:
        wait = "waits" if found.queued == 1 else "wait"
        print(f"{found.queued} of your clusters {wait} in the queue, {found.queue_length} of all.")
