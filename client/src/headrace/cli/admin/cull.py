"""`headrace admin cull`: what culling would do, and doing now what it has warned of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from headrace._wire import calls, culling_calls
from headrace._wire.calls import cluster_id
from headrace._wire.connection import Connection
from headrace._wire.words import word
from headrace.cli.calling import call
from headrace.cli.options import Address, CaFile, Json
from headrace.cli.output import age, duration, print_json, print_note, print_table
from headrace.errors import ClusterEnded, ClusterNotFound
from headrace.v1 import culling_service_pb2 as pb

app = typer.Typer(add_completion=False)


@app.command()
def cull(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would happen, when and why.")] = False,
    owner: Annotated[str, typer.Option("--owner", help='Owner of the clusters; "-" means all users.')] = "-",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Do at once what culling has warned of, instead of when the warning ends.

    Nothing happens to clusters without a warning, or whose state no longer holds or cannot be measured.
    """
    filter_ = calls.cluster_filter(owner=owner)
    found = call(address, ca_file, lambda connection: culling_calls.culling(connection, filter_))
    if not dry_run:
        found = [culling for culling in found if culling.warned and culling.HasField("act_time")]
    if as_json:
        print_json(found)
    else:
        _print(found, dry_run=dry_run)
    if dry_run or not found:
        return
    if not yes:
        typer.confirm(f"Do this now to {_count({culling.cluster for culling in found})}?", abort=True, err=True)
    call(address, ca_file, lambda connection: _cull(connection, found))


async def _cull(connection: Connection, found: list[pb.Culling]) -> None:
    for name in dict.fromkeys(culling.cluster for culling in found):
        try:
            await culling_calls.cull(connection, name)
        except (ClusterEnded, ClusterNotFound):
            print_note(f"{cluster_id(name)} has ended meanwhile")
        else:
            print_note(f"{cluster_id(name)}: asked")


def _print(found: list[pb.Culling], *, dry_run: bool) -> None:
    columns = ["CLUSTER", "OWNER", "WHEN", "ACTION", "RULE", "WHY", "HELD BACK BY"]
    rows = (
        [
            cluster_id(culling.cluster),
            culling.owner.removeprefix("users/"),
            _when(culling),
            word(pb.CullingAction.DESCRIPTOR, culling.action).lower().replace("_", " "),
            culling.rule,
            _why(culling),
            culling.held_back_by or "-",
        ]
        for culling in found
    )
    none = "Nothing would happen to any cluster." if dry_run else "Culling has warned of nothing."
    print_table(columns, rows, empty=none)


def _when(culling: pb.Culling) -> str:
    if not culling.HasField("act_time"):
        return "cannot be known now"
    done, warning = _in(culling.act_time), _in(culling.warn_time)
    return f"{done}, warned" if culling.warned else f"{done}, warning {warning}"


def _in(time: Timestamp) -> str:
    seconds = round((time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)).total_seconds())
    return f"in {duration(seconds, units=2)}" if seconds > 0 else "now"


def _why(culling: pb.Culling) -> str:
    """The state, and what was measured. The query of an administrator's own rule may be long: they know it."""
    sample = f"measured {age(culling.sample_time)} ago" if culling.HasField("sample_time") else ""
    signal = "" if culling.rule.startswith("rules/") else culling.signal
    details = ", ".join(filter(None, (signal, sample)))
    return f"{culling.message} ({details})" if details else culling.message


def _count(clusters: set[str]) -> str:
    return "1 cluster" if len(clusters) == 1 else f"{len(clusters)} clusters"
