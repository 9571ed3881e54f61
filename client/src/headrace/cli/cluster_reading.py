"""`headrace clusters show|workers|logs|events|open`: what can be read about a cluster."""

from __future__ import annotations

import sys
import webbrowser
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

import typer

from headrace._wire import auth_calls, calls
from headrace._wire.connection import Connection
from headrace._wire.logs import read_logs
from headrace._wire.watch import follow_events
from headrace.cli.calling import call
from headrace.cli.cluster_view import event_line, print_cluster, print_workers
from headrace.cli.options import Address, CaFile, Cluster, Json
from headrace.cli.output import print_json, print_json_line
from headrace.errors import HeadraceError
from headrace.v1 import auth_service_pb2, cluster_pb2, options_service_pb2

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Continue with new ones until the cluster has ended.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the group."""
    app.command()(show)
    app.command("workers")(list_workers)
    app.command()(logs)
    app.command()(events)
    app.command("open")(open_dashboard)


def show(cluster: Cluster, *, address: Address = None, ca_file: CaFile = None, as_json: Json = False) -> None:
    """Show everything about a cluster, also after its end."""

    async def action(connection: Connection) -> tuple[cluster_pb2.Cluster, list[options_service_pb2.Option]]:
        found = await calls.find(connection, cluster)
        with suppress(HeadraceError):  # its profile may be gone
            return found, [] if as_json else await calls.options(connection, found.spec.profile)
        return found, []

    found, options = call(address, ca_file, action)
    if as_json:
        print_json(found)
    else:
        print_cluster(found, options)


def list_workers(cluster: Cluster, *, address: Address = None, ca_file: CaFile = None, as_json: Json = False) -> None:
    """List the workers of a cluster."""
    found = call(address, ca_file, lambda connection: calls.workers(connection, cluster))
    if as_json:
        print_json(found)
    else:
        print_workers(found)


def logs(
    cluster: Cluster,
    *,
    process: Annotated[str, typer.Option(help='"scheduler" or the id of a worker. Default: all processes.')] = "",
    tail: Annotated[
        int, typer.Option("--tail", "-n", help="Number of last lines of each process. 0 means all.", min=0)
    ] = 0,
    follow: Follow = False,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Print the logs of a cluster, also after its end."""

    async def action(connection: Connection) -> None:
        async for piece in read_logs(connection, cluster, process, tail, follow=follow):
            if as_json:
                print_json_line(piece)
            else:
                prefix = "" if process else f"{piece.process}  "
                for line in piece.lines.decode(errors="replace").splitlines():
                    print(f"{prefix}{line}", flush=True)

    call(address, ca_file, action)


def events(
    cluster: Cluster, *, follow: Follow = False, address: Address = None, ca_file: CaFile = None, as_json: Json = False
) -> None:
    """Print the events of a cluster, oldest first, also after its end."""

    async def action(connection: Connection) -> None:
        if follow:
            async for event in follow_events(connection, await calls.resolve(connection, cluster)):
                _print_event(event, as_json=as_json)
            return
        found = await calls.events(connection, cluster)
        if as_json:
            print_json(found)
        else:
            for event in found:
                _print_event(event, as_json=False)

    call(address, ca_file, action)


def open_dashboard(
    cluster: Cluster,
    *,
    page: Annotated[str, typer.Option(help="Page of the dashboard.")] = "status",
    only_print: Annotated[bool, typer.Option("--print", help="Print the link instead of opening a browser.")] = False,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Open the dashboard of a cluster in a browser.

    The link signs one browser in: the first that opens it, within some minutes.
    """

    async def action(connection: Connection) -> tuple[str, auth_service_pb2.CreateDashboardLinkResponse]:
        name = await calls.resolve(connection, cluster)
        link = await auth_calls.dashboard_link(connection, calls.cluster_id(name), page)
        return connection.target.public_address + link.path, link

    url, link = call(address, ca_file, action)
    if as_json:
        print_json(link)
    elif only_print or not webbrowser.open(url):
        left = link.expire_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
        print(url)
        if sys.stdout.isatty():
            print(f"(open it within {int(left.total_seconds() // 60)} minutes)")


def _print_event(event: cluster_pb2.ClusterEvent, *, as_json: bool) -> None:
    if as_json:
        print_json_line(event)
    else:
        print(event_line(event), flush=True)
