"""`headrace clusters logs|events|open`: what there is to read about a cluster."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import typer

from headrace._wire.connection import Connection
from headrace.cli.calling import call, find_cluster
from headrace.cli.cluster_view import ENDED, event_line
from headrace.cli.cluster_watch import watch
from headrace.cli.options import Address, CaFile, Cluster, Json
from headrace.cli.output import print_json, print_json_line
from headrace.v1 import auth_service_pb2, cluster_pb2, cluster_service_pb2

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes later, until the cluster ends.")]


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the group."""
    for command in (logs, events, open_dashboard):
        app.command(command.__name__.removesuffix("_dashboard"))(command)


def logs(
    cluster: Cluster,
    *,
    process: Annotated[str, typer.Option(help='"scheduler" or the id of a worker. By default all.')] = "",
    tail: Annotated[int, typer.Option("--tail", "-n", help="Only so many last lines of each process.", min=0)] = 0,
    follow: Follow = False,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Print the logs of a cluster, also after its end."""

    async def action(connection: Connection) -> None:
        name = await find_cluster(connection, cluster)
        request = cluster_service_pb2.ReadLogsRequest(parent=name, process=process, tail_lines=tail, follow=follow)
        doing = f"reading logs of cluster {cluster}"
        async for piece in connection.stream(connection.clusters.ReadLogs, request, doing=doing):
            if as_json:
                print_json_line(piece)
            else:
                _print_lines(piece, prefix="" if process else f"{piece.process}  ")

    call(address, ca_file, action)


def events(
    cluster: Cluster, *, follow: Follow = False, address: Address = None, ca_file: CaFile = None, as_json: Json = False
) -> None:
    """Print what happened to a cluster, oldest first, also after its end."""

    async def action(connection: Connection) -> None:
        name = await find_cluster(connection, cluster)
        if follow:
            await _follow_events(connection, name, print_json_line if as_json else _print_event)
            return
        found = await _list_events(connection, name)
        if as_json:
            print_json(found)
        else:
            for event in found:
                _print_event(event)

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

    The link is signed and opens the dashboard for whoever has it, for some minutes.
    """

    async def action(connection: Connection) -> tuple[str, auth_service_pb2.CreateDashboardLinkResponse]:
        name = await find_cluster(connection, cluster)
        request = auth_service_pb2.CreateDashboardLinkRequest(name=name, page=page)
        doing = f"making a link to the dashboard of cluster {cluster}"
        link = await connection.call(connection.auth.CreateDashboardLink, request, doing=doing)
        return connection.target.public_address + link.path, link

    url, link = call(address, ca_file, action)
    if as_json:
        print_json(link)
    elif only_print or not webbrowser.open(url):
        until = link.expire_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
        print(url)
        if sys.stdout.isatty():
            print(f"(to be opened within {int(until.total_seconds() // 60)} minutes)")


def _print_lines(piece: cluster_service_pb2.ReadLogsResponse, prefix: str) -> None:
    for line in piece.lines.decode(errors="replace").splitlines():
        print(f"{prefix}{line}", flush=True)


def _print_event(event: cluster_pb2.ClusterEvent) -> None:
    print(event_line(event), flush=True)


async def _list_events(connection: Connection, name: str) -> list[cluster_pb2.ClusterEvent]:
    request = cluster_service_pb2.ListClusterEventsRequest(parent=name, page_size=1000)
    found: list[cluster_pb2.ClusterEvent] = []
    while True:
        page = await connection.call(connection.clusters.ListClusterEvents, request, doing=f"listing events of {name}")
        found.extend(page.events)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def _follow_events(connection: Connection, name: str, show: Callable[[cluster_pb2.ClusterEvent], None]) -> None:
    shown: set[str] = set()
    async for step in watch(connection, name):
        if step.HasField("event"):
            show(step.event)
            shown.add(step.event.id)
        if step.cluster.status.phase in ENDED:
            # A watch of one that has ended brings no events, and the last ones may be on their way still.
            for event in await _list_events(connection, name):
                if event.id not in shown:
                    show(event)
            return
