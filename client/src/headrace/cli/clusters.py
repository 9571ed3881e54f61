"""`headrace clusters`: list, create, scale, adapt, stop. What reads from a cluster is in `cluster_reading`."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer
from google.protobuf import json_format

from headrace._wire.connection import Connection
from headrace.cli import cluster_reading
from headrace.cli.calling import call, find_cluster
from headrace.cli.cluster_view import cluster_id, event_line, print_clusters, workers
from headrace.cli.cluster_watch import wait_until_ended, wait_until_running
from headrace.cli.key_values import parse_tags, parse_values
from headrace.cli.options import Address, CaFile, Cluster, Group, Json
from headrace.cli.output import print_json, tell
from headrace.v1 import cluster_pb2, cluster_service_pb2

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, create, scale, watch and stop clusters.")

Owner = Annotated[str, typer.Option("--owner", help='For admins: whose clusters, "-" for everybody\'s.')]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done.")]


@app.command("list")
def list_clusters(
    *,
    owner: Owner = "",
    ended: Annotated[bool, typer.Option("--all", help="Also clusters that have ended.")] = False,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """List your clusters, newest first."""
    phases = [number for number in cluster_pb2.Phase.values() if number] if ended else []
    request = cluster_service_pb2.ListClustersRequest(owner=_owner(owner), phases=phases, page_size=1000)
    found = call(address, ca_file, lambda connection: _list_all(connection, request))
    if as_json:
        print_json(found)
    else:
        print_clusters(found, owners=bool(owner))


@app.command()
def create(
    *,
    alias: Annotated[str, typer.Option(help="A name of your own; one that runs already is taken as it is.")] = "",
    option: Annotated[list[str] | None, typer.Option(help="Option of the cluster, as key=value. Repeatable.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Mark for cost reports, as key=value. Repeatable.")] = None,
    workers: Annotated[int, typer.Option(help="Number of workers.", min=0)] = 0,
    maximum: Annotated[int, typer.Option(help="Follow the load from --workers up to so many workers.", min=0)] = 0,
    wait: Wait = True,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Create a cluster; it runs until it is stopped."""
    group = cluster_pb2.WorkerGroup(name="default", size=workers)
    if maximum:
        group.adapt.CopyFrom(cluster_pb2.AdaptRange(minimum=workers, maximum=maximum))
    spec = cluster_pb2.ClusterSpec(alias=alias, worker_groups=[group], tags=parse_tags(tag or []))
    if option:
        json_format.ParseDict(parse_values(option), spec.options)
    request = cluster_service_pb2.CreateClusterRequest(spec=spec, request_id=uuid.uuid4().hex)
    made = call(address, ca_file, lambda connection: _create(connection, request, wait=wait))
    if as_json:
        print_json(made)
    else:
        print(cluster_id(made))


@app.command()
def scale(
    cluster: Cluster,
    size: Annotated[int, typer.Argument(metavar="WORKERS", help="Number of workers wanted.", min=0)],
    *,
    group: Group = "default",
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Ask for a number of workers; ends adaptive scaling."""

    async def action(connection: Connection) -> cluster_pb2.Cluster:
        name = await find_cluster(connection, cluster)
        request = cluster_service_pb2.ScaleClusterRequest(name=name, group=group, size=size)
        return await connection.call(connection.clusters.ScaleCluster, request, doing=f"scaling cluster {cluster}")

    _print_changed(call(address, ca_file, action), as_json=as_json)


@app.command()
def adapt(
    cluster: Cluster,
    minimum: Annotated[int, typer.Argument(help="Never fewer workers than this.", min=0)] = 0,
    maximum: Annotated[int, typer.Argument(help="Never more workers than this.", min=0)] = 0,
    *,
    off: Annotated[bool, typer.Option("--off", help="End adaptive scaling; the workers stay.")] = False,
    group: Group = "default",
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Let the number of workers follow the load between two bounds."""
    if not off and maximum < max(minimum, 1):
        raise typer.BadParameter("give a minimum and a maximum that is not smaller, such as 0 8; or --off")
    bounds = None if off else cluster_pb2.AdaptRange(minimum=minimum, maximum=maximum)

    async def action(connection: Connection) -> cluster_pb2.Cluster:
        name = await find_cluster(connection, cluster)
        request = cluster_service_pb2.AdaptClusterRequest(name=name, group=group, adapt=bounds)
        return await connection.call(connection.clusters.AdaptCluster, request, doing=f"adapting cluster {cluster}")

    _print_changed(call(address, ca_file, action), as_json=as_json)


@app.command()
def stop(
    clusters: Annotated[list[str] | None, typer.Argument(metavar="CLUSTER...", help="Ids or aliases.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All of your clusters.")] = False,
    owner: Owner = "",
    wait: Wait = True,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Stop clusters, by name or all."""
    if bool(clusters) == everything:
        raise typer.BadParameter("name the clusters to stop, or give --all")

    async def action(connection: Connection) -> list[cluster_pb2.Cluster]:
        if everything:
            names = await _stop_all(connection, _owner(owner))
        else:
            names = [await _stop(connection, cluster) for cluster in clusters or []]
        look = wait_until_ended if wait else _get
        return [await look(connection, name) for name in names]

    stopped = call(address, ca_file, action)
    if as_json:
        print_json(stopped)
    elif not stopped:
        print("No clusters to stop.")
    else:
        print_clusters(stopped, owners=bool(owner))


cluster_reading.add_to(app)


async def _list_all(
    connection: Connection, request: cluster_service_pb2.ListClustersRequest
) -> list[cluster_pb2.Cluster]:
    found: list[cluster_pb2.Cluster] = []
    while True:
        page = await connection.call(connection.clusters.ListClusters, request, doing="listing clusters")
        found.extend(page.clusters)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def _create(
    connection: Connection, request: cluster_service_pb2.CreateClusterRequest, *, wait: bool
) -> cluster_pb2.Cluster:
    made = await connection.call(connection.clusters.CreateCluster, request, doing="creating a cluster")
    if not wait:
        return made
    return await wait_until_running(connection, made.name, lambda event: tell(event_line(event)))


async def _stop(connection: Connection, cluster: str) -> str:
    request = cluster_service_pb2.StopClusterRequest(name=await find_cluster(connection, cluster))
    await connection.call(connection.clusters.StopCluster, request, doing=f"stopping cluster {cluster}")
    return request.name


async def _stop_all(connection: Connection, owner: str) -> list[str]:
    request = cluster_service_pb2.StopAllClustersRequest(owner=owner)
    answer = await connection.call(connection.clusters.StopAllClusters, request, doing="stopping all clusters")
    return list(answer.names)


async def _get(connection: Connection, name: str) -> cluster_pb2.Cluster:
    request = cluster_service_pb2.GetClusterRequest(name=name)
    return await connection.call(connection.clusters.GetCluster, request, doing=f"looking up {name}")


def _print_changed(cluster: cluster_pb2.Cluster, *, as_json: bool) -> None:
    if as_json:
        print_json(cluster)
    else:
        print(f"{cluster_id(cluster)}: {workers(cluster)} workers")


def _owner(owner: str) -> str:
    return f"users/{owner.removeprefix('users/')}" if owner else ""
