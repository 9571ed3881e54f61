"""`headrace usage`."""

from __future__ import annotations

import csv
import json
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from headrace._wire import usage_calls
from headrace.cli.calling import call
from headrace.cli.options import Address, CaFile, Json
from headrace.cli.output import local_time, print_json, print_table
from headrace.v1 import usage_service_pb2 as pb

_FORMULAS = {*"=+-@＝＋－＠"}  # with the wide forms, which some programs take for the same

app = typer.Typer(add_completion=False)


class Format(StrEnum):
    """How usage is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@app.command()
def usage(
    *,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="Sum by day, month, user, group, profile, cluster, tag, or tag:KEY. Repeatable."),
    ] = None,
    since: Annotated[
        str, typer.Option("--since", help="First day, in UTC, such as 2026-11-26. Default: the first of this month.")
    ] = "",
    until: Annotated[str, typer.Option("--until", help="Last day, in UTC, likewise. Default: today.")] = "",
    of: Annotated[
        str,
        typer.Option("--of", help='Whose: users/NAME, groups/NAME, clusters/ID, or "-" for all. Default: yours.'),
    ] = "",
    budgets: Annotated[bool, typer.Option("--budgets", help="Show your budgets instead, and what is left.")] = False,
    format_: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TABLE,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Show what was used and what it cost; what runs counts up to now."""
    if budgets:
        if of and not of.startswith("users/"):
            raise typer.BadParameter("with --budgets it is one user: --of users/NAME")
        found = call(address, ca_file, lambda connection: usage_calls.budgets(connection, of))
        print_json(found.budgets) if as_json or format_ is Format.JSON else _print_budgets(found)
        return
    dimensions = by or ["day"]
    rows = call(
        address,
        ca_file,
        lambda connection: usage_calls.usage(connection, by=dimensions, since=since, until=until, of=of),
    )
    if as_json or format_ is Format.JSON:
        print(json.dumps(rows, indent=2))
    elif format_ is Format.CSV:
        _print_csv(rows, usage_calls.columns(dimensions))
    else:
        _print_rows(rows, [one.partition(":")[0] for one in dimensions])


def _print_csv(rows: list[dict[str, Any]], columns: list[str]) -> None:
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _harmless(value) for key, value in row.items()} for row in rows)


def _harmless(value: object) -> object:
    """Text that a spreadsheet would take for a formula, as text: users choose names of clusters and tags."""
    return f"'{value}" if isinstance(value, str) and value.lstrip()[:1] in _FORMULAS else value


def _print_rows(rows: list[dict[str, Any]], by: list[str]) -> None:
    keys = [key for one in by for key in ([one, "name"] if one == "cluster" else [one])]
    numbers = {"CORE-H": "core_hours", "GIB-H": "memory_gib_hours", "GPU-H": "gpu_hours", "COST": "cost"}
    columns = [*(key.upper() for key in keys), *numbers, "MEASURED CORE-H"]
    lines = [
        [
            *(_printable(row[key]) for key in keys),
            *(f"{row[number]:.2f}" for number in numbers.values()),
            "not measured" if row["measured_core_hours"] is None else f"{row['measured_core_hours']:.2f}",
        ]
        for row in rows
    ]
    if rows:
        columns[columns.index("COST")] = _with_unit("COST", rows[0]["currency"])
    print_table(columns, lines, empty="Nothing was used in this period.", numbers=columns[len(keys) :])


def _with_unit(cost: str, currency: str) -> str:
    return f"{cost} ({_printable(currency)})" if currency else cost


def _printable(text: str) -> str:
    """Text of users for a terminal: without what could control it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text) or "-"


def _print_budgets(found: pb.ListBudgetsResponse) -> None:
    whats = {"cost": _with_unit("cost", found.currency)}
    rows = [
        [
            state.subject,
            f"{whats.get(state.what, state.what)} per {state.period}",
            f"{state.limit:.2f}",
            f"{state.used:.2f}",
            f"{max(0.0, state.limit - state.used):.2f}",
            local_time(state.used_up_time) or "-",
            local_time(state.reset_time),
            state.then,
        ]
        for state in found.budgets
    ]
    columns = ["BUDGET OF", "WHAT", "LIMIT", "USED", "LEFT", "USED UP", "BEGINS AGAIN", "THEN"]
    print_table(columns, rows, empty="No budget binds you.", numbers=columns[2:5])
