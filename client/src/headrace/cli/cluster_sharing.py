"""`headrace clusters share` and `unshare`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from headrace._target import config
from headrace._wire import sharing
from headrace._wire.calls import cluster_id
from headrace.cli.calling import call
from headrace.cli.options import Address, CaFile, Cluster, Json
from headrace.cli.output import local_time, print_json, print_table
from headrace.v1 import cluster_pb2
from headrace.v1.right_pb2 import Right

Member = Annotated[str, typer.Argument(metavar="MEMBER", help="A user such as ann, or a group such as groups/physics.")]


def share(
    cluster: Cluster,
    member: Member,
    rights: Annotated[str, typer.Argument(help="Of view, connect, scale and stop, with commas.")] = "connect",
    *,
    for_: Annotated[str, typer.Option("--for", help='Time after which it ends, such as "2h".')] = "",
    until: Annotated[datetime | None, typer.Option("--until", help="Local time at which it ends.")] = None,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Let a user or a group use a cluster. A user with the right to connect can run any code in it."""
    end = sharing.end_of(until, config.seconds(for_, "for") if for_ else None)
    changed = call(address, ca_file, lambda connection: sharing.share(connection, cluster, member, rights, end))
    _print_shares(changed, as_json=as_json)


def unshare(
    cluster: Cluster, member: Member, *, address: Address = None, ca_file: CaFile = None, as_json: Json = False
) -> None:
    """Take a user's or a group's rights on a cluster away, with what they have opened by them."""
    changed = call(address, ca_file, lambda connection: sharing.unshare(connection, cluster, member))
    _print_shares(changed, as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Add the commands to `headrace clusters`."""
    for command in (share, unshare):
        app.command()(command)


def _print_shares(cluster: cluster_pb2.Cluster, *, as_json: bool) -> None:
    if as_json:
        print_json(cluster)
        return
    rows = [
        [one.member, ", ".join(map(_word, one.rights)), local_time(one.expire_time) or "the cluster ends"]
        for one in cluster.shares
    ]
    print_table(["SHARED WITH", "RIGHTS", "UNTIL"], rows, empty=f"{cluster_id(cluster.name)} is not shared.")


def _word(right: Right.ValueType) -> str:
    return Right.Name(right).removeprefix("RIGHT_CLUSTER_").lower()
