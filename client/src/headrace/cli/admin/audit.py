"""`headrace admin audit`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from headrace._target import config
from headrace._wire import audit_calls
from headrace.cli.calling import call
from headrace.cli.options import Address, CaFile, Json
from headrace.cli.output import local_time, print_json, print_table
from headrace.resource_names import cluster_name, user_name
from headrace.v1.audit_service_pb2 import AuditRecord, ListAuditRecordsRequest

app = typer.Typer(add_completion=False, help="Show who did what to which cluster, when, from where, by which token.")


@app.callback(invoke_without_command=True)
def audit(
    *,
    caller: Annotated[str, typer.Option("--by", help="User who called.")] = "",
    owner: Annotated[str, typer.Option("--owner", help="User whose cluster, token or session it was about.")] = "",
    cluster: Annotated[str, typer.Option("--cluster", help="Id of the cluster that it was about.")] = "",
    method: Annotated[str, typer.Option("--method", help="Method, such as StopCluster.")] = "",
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Method to leave out, such as Login. Repeatable.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only what was refused or failed.")] = False,
    token: Annotated[str, typer.Option("--token", help="Token that was called with, as the records name it.")] = "",
    since: Annotated[str, typer.Option("--since", help='Age of the oldest record, such as "2h".')] = "",
    until: Annotated[str, typer.Option("--until", help='Age of the newest record, such as "1h".')] = "",
    count: Annotated[int, typer.Option("--count", "-n", help="Newest records to show.", min=1, max=100_000)] = 100,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Show who did what to which cluster, when, from where, by which token."""
    request = ListAuditRecordsRequest(
        caller=caller and user_name(caller.removeprefix("users/")),
        owner=owner and user_name(owner.removeprefix("users/")),
        cluster=cluster and cluster_name(cluster.removeprefix("clusters/")),
        method=method,
        failed=failed,
        token=token,
    )
    start, end = _ago(since, "since"), _ago(until, "until")
    found = call(
        address,
        ca_file,
        lambda connection: audit_calls.records(
            connection, request, since=start, until=end, count=count, without=without or ()
        ),
    )
    if as_json:
        print_json(found)
    else:
        columns = ["TIME", "BY", "AS", "METHOD", "OF", "TARGET", "FROM", "TOKEN", "RESULT", "DETAIL"]
        print_table(columns, [_row(one) for one in found], empty="No records.")


def _ago(age: str, name: str) -> datetime | None:
    return datetime.now(UTC) - timedelta(seconds=config.seconds(age, name)) if age else None


def _row(one: AuditRecord) -> list[str]:
    return [
        local_time(one.time) or "- -",
        one.caller.removeprefix("users/") or "-",
        one.role or "-",
        one.method.rpartition(".")[2],
        one.owner.removeprefix("users/") or "-",
        one.target.removeprefix("clusters/") or "-",
        one.source,
        one.token.removeprefix("apiTokens/") or "-",
        one.code,
        one.detail,
    ]
