"""`headrace limits`."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace._wire import limits_calls
from headrace.cli.calling import call
from headrace.cli.options import Address, CaFile, Json
from headrace.cli.output import local_time, print_json, print_table
from headrace.sizes import describe_amount, describe_quantity
from headrace.v1 import limits_service_pb2 as pb

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
    for limit in found.limits:
        if limit.HasField("exception"):
            print(_exception(limit))
    if found.queue_length:
        wait = "waits" if found.queued == 1 else "wait"
        print(f"{found.queued} of your clusters {wait} in the queue, {found.queue_length} of all.")


def _exception(limit: pb.Limit) -> str:
    """Tell until when a limit holds that an admin has set."""
    one = limit.exception
    what = f"{limit.subject} may have {describe_quantity(limit.resource, limit.limit)} until {local_time(one.end_time)}"
    by = f"set by {one.set_by.removeprefix('users/')}"
    return f"{what}, {by}: {one.reason}" if one.reason else f"{what}, {by}."
