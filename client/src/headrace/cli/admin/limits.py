"""`headrace admin limits`: other limits for a user or a group, for a while."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from headrace._target import config
from headrace._wire import limits_calls
from headrace.cli.calling import call
from headrace.cli.key_values import parse_limits
from headrace.cli.options import Address, CaFile, Json
from headrace.cli.output import local_time, print_json, print_note, print_table
from headrace.sizes import describe_amount
from headrace.v1 import limits_service_pb2 as pb

Subject = Annotated[str, typer.Argument(metavar="WHO", help='User, such as "ann", or group, such as "groups/lab".')]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Give a user or a group other limits than the policy's for a while.",
)


@app.command("set")
def set_(
    who: Subject,
    limits: Annotated[list[str], typer.Argument(metavar="RESOURCE=LIMIT...", help='Such as "memory_bytes=64 GiB".')],
    *,
    for_: Annotated[str, typer.Option("--for", help='Time after which they end, at most "90d".')] = "7d",
    reason: Annotated[str, typer.Option("--reason", help="Reason. Those whom it is about see it.")] = "",
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Set limits of a user or a group instead of the policy's, until they end by themselves.

    Resources are clusters, workers, cores, memory_bytes, gpus, and those that the policy's limits name. Other limits,
    such as the deployment's, bind besides.
    """
    wanted, seconds = parse_limits(limits), config.seconds(for_, "for")
    found = call(
        address,
        ca_file,
        lambda connection: limits_calls.set_exceptions(connection, _name(who), wanted, seconds, reason),
    )
    _print(found, as_json=as_json)


@app.command("list")
def list_(*, address: Address = None, ca_file: CaFile = None, as_json: Json = False) -> None:
    """List the limits that admins have set and that have not ended."""
    _print(call(address, ca_file, limits_calls.exceptions), as_json=as_json)


@app.command()
def unset(
    who: Subject,
    resources: Annotated[list[str] | None, typer.Argument(help="Resources. Default: all.", show_default=False)] = None,
    *,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """End limits that admins have set: those of the policy bind again."""
    found = call(
        address,
        ca_file,
        lambda connection: limits_calls.remove_exceptions(connection, _name(who), resources or []),
    )
    if found:
        print_note("These limits have ended; those of the policy bind again:")
    _print(found, as_json=as_json, empty=f"Nothing is set for {who}.")


def _name(who: str) -> str:
    return who if who.startswith(("users/", "groups/")) else f"users/{who}"


def _print(found: Iterable[pb.LimitException], *, as_json: bool, empty: str = "No limits are set.") -> None:
    if as_json:
        print_json(found)
        return
    rows = (
        [
            one.subject,
            one.resource,
            describe_amount(one.resource, one.limit),
            local_time(one.end_time),
            one.set_by.removeprefix("users/"),
            one.reason or "-",
        ]
        for one in found
    )
    print_table(["OF", "RESOURCE", "LIMIT", "UNTIL", "SET BY", "REASON"], rows, empty=empty, numbers=["LIMIT"])
