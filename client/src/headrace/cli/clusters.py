"""`headrace clusters`: create, list, change and stop clusters. What reads from one is in `cluster_reading`."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from headrace._target import config
from headrace._wire import calls, culling_calls
from headrace._wire.calls import cluster_id
from headrace._wire.connection import Connection
from headrace._wire.creating import Wanted, get_or_create
from headrace._wire.option_values import option_values
from headrace._wire.watch import wait_until_ended, wait_until_running
from headrace.cli import cluster_reading, cluster_sharing
from headrace.cli.calling import call, ended_by_signals
from headrace.cli.cluster_view import event_line, print_clusters, workers
from headrace.cli.key_values import parse_shares, parse_tags, parse_values
from headrace.cli.options import Address, CaFile, Cluster, Clusters, Group, Json
from headrace.cli.output import local_time, print_json, print_note, print_table
from headrace.errors import StopFailed
from headrace.v1 import cluster_pb2, cluster_service_pb2
from headrace.v1.cluster_service_pb2 import WatchClustersResponse

_UNDO_SECONDS = 10.0

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, create, scale, watch and stop clusters.")

Owner = Annotated[str, typer.Option("--owner", help='For admins: owner of the clusters; "-" means all users.')]
Profile = Annotated[str, typer.Option("--profile", help="Profile, as listed by `headrace clusters profiles`.")]
Tag = Annotated[list[str] | None, typer.Option("--tag", help="Label for cost reports, as key=value. Repeatable.")]
Shared = Annotated[bool, typer.Option("--shared", help="Also clusters of others that you may see, or stop.")]
Lifetime = Annotated[str, typer.Option("--lifetime", help='Time after which the cluster is stopped, such as "8h".')]
Share = Annotated[
    list[str] | None,
    typer.Option("--share", help='Who else may use it, such as "users/bob=connect". Repeatable.'),
]


@app.command("list")
def list_clusters(
    *,
    owner: Owner = "",
    profile: Profile = "",
    tag: Tag = None,
    ended: Annotated[bool, typer.Option("--all", help="Include clusters that have ended.")] = False,
    shared: Shared = False,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """List your clusters, newest first."""
    phases = [*calls.LIVING, *calls.ENDED] if ended else []
    tags = parse_tags(tag or [])
    filter_ = calls.cluster_filter(owner=owner, phases=phases, tags=tags, profile=profile, shared=shared)
    found = call(address, ca_file, lambda connection: calls.list_clusters(connection, filter_))
    if as_json:
        print_json(found)
    else:
        print_clusters(found, owners=bool(owner) or shared)


@app.command()
def profiles(*, address: Address = None, ca_file: CaFile = None, as_json: Json = False) -> None:
    """List the profiles that you may choose, the default one first."""
    found = call(address, ca_file, calls.profiles)
    if as_json:
        print_json(found)
        return
    rows = [[profile.key, profile.label, profile.description] for profile in found]
    print_table(["PROFILE", "LABEL", "DESCRIPTION"], rows, empty="No profiles.")


@app.command()
def create(
    *,
    name: Annotated[
        str, typer.Option("--name", help="Name for the cluster. Uses your living cluster of that name.")
    ] = "",
    profile: Profile = "",
    option: Annotated[list[str] | None, typer.Option(help="Option of the cluster, as key=value. Repeatable.")] = None,
    tag: Tag = None,
    workers: Annotated[int, typer.Option(help="Number of workers.", min=0)] = 0,
    maximum: Annotated[
        int, typer.Option(help="Adapt to the load, from --workers to this number. 0 means no adaptive scaling.", min=0)
    ] = 0,
    lifetime: Lifetime = "",
    share: Share = None,
    owner: Annotated[str, typer.Option("--owner", help="For admins: the user to create it for.")] = "",
    owner_group: Annotated[
        list[str] | None,
        typer.Option(help="With --owner: a group of that user. Repeatable. Default: those of their newest cluster."),
    ] = None,
    queue_timeout: Annotated[
        str,
        typer.Option(help="Time to wait for room, such as 10min. 0: not at all. Default: that of the configuration."),
    ] = "",
    wait: Annotated[bool, typer.Option(help="Wait until the cluster can be used.")] = True,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Create a cluster; it runs until it is stopped. Ctrl-C while it starts or waits for room stops it."""
    options = option_values(parse_values(option or []))
    spec = cluster_pb2.ClusterSpec(
        alias=name,
        profile=profile,
        options=options,
        tags=parse_tags(tag or []),
        worker_groups=_default_group(workers, maximum),
    )
    if lifetime:
        spec.lifetime.FromTimedelta(_lifetime(lifetime))
    timeout = config.seconds(queue_timeout, "--queue-timeout") if queue_timeout else None
    wanted = Wanted(spec, frozenset(options), parse_shares(share or []), owner, owner_group or None, timeout)
    created = call(address, ca_file, lambda connection: _create(connection, wanted, wait=wait))
    if as_json:
        print_json(created)
    else:
        print(cluster_id(created.name))


@app.command()
def scale(
    cluster: Cluster,
    size: Annotated[int, typer.Argument(metavar="WORKERS", help="Number of workers.", min=0)],
    *,
    group: Group = "default",
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Ask for a number of workers; ends adaptive scaling."""
    changed = call(address, ca_file, lambda connection: calls.scale(connection, cluster, size, group))
    _note_clipped(calls.clipped(changed, group, size))
    _print_changed(changed, as_json=as_json)


@app.command()
def adapt(
    cluster: Cluster,
    minimum: Annotated[int | None, typer.Argument(help="Minimum number of workers.", min=0)] = None,
    maximum: Annotated[int | None, typer.Argument(help="Maximum. Default: what your limits allow.", min=0)] = None,
    *,
    off: Annotated[bool, typer.Option("--off", help="End adaptive scaling; the workers stay.")] = False,
    group: Group = "default",
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Let the number of workers follow the load, from a minimum to a maximum."""
    if off == (minimum is not None):
        raise typer.BadParameter("give a minimum and, if you want, a maximum, such as 0 8; or --off")
    if maximum is not None and maximum < (minimum or 0):
        raise typer.BadParameter(f"the maximum {maximum} is smaller than the minimum {minimum}")
    bounds = None if off else cluster_pb2.AdaptRange(minimum=minimum or 0, maximum=maximum)
    changed = call(address, ca_file, lambda connection: calls.adapt(connection, cluster, bounds, group))
    _note_clipped(calls.clipped(changed, group, bounds))
    _print_changed(changed, as_json=as_json)


@app.command()
def update(
    cluster: Cluster,
    *,
    tag: Tag = None,
    lifetime: Lifetime = "",
    share: Share = None,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Replace tags, lifetime or shares of a cluster. What is not given stays unchanged."""
    changed, paths = cluster_pb2.Cluster(), list[str]()
    if tag:
        changed.spec.tags.update(parse_tags(tag))
        paths.append("spec.tags")
    if lifetime:
        changed.spec.lifetime.FromTimedelta(_lifetime(lifetime))
        paths.append("spec.lifetime")
    if share:
        changed.shares.extend(parse_shares(share))
        paths.append("shares")
    if not paths:
        raise typer.BadParameter("give at least one of --tag, --lifetime and --share")

    async def action(connection: Connection) -> cluster_pb2.Cluster:
        changed.name = await calls.resolve(connection, cluster)
        return await calls.update(connection, changed, paths)

    _print_changed(call(address, ca_file, action), as_json=as_json)


@app.command()
def keep(
    cluster: Cluster,
    *,
    hours: Annotated[float, typer.Option("--hours", help="Hours from now.", min=0.01, max=87600)] = 2,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Put culling of a cluster off."""
    kept = call(address, ca_file, lambda connection: culling_calls.keep(connection, cluster, hours * 3600))
    if as_json:
        print_json(kept)
    else:
        print(f"{cluster_id(kept.name)}: kept until {local_time(kept.spec.keep_until_time)}")


@app.command()
def stop(
    clusters: Clusters = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All of your clusters.")] = False,
    owner: Owner = "",
    shared: Shared = False,
    wait: Annotated[bool, typer.Option(help="Wait until the clusters have ended.")] = True,
    address: Address = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Stop clusters, by name or all."""
    if bool(clusters) == everything:
        raise typer.BadParameter("name the clusters to stop, or give --all")

    async def action(
        connection: Connection,
    ) -> tuple[cluster_service_pb2.BatchStopClustersResponse, list[cluster_pb2.Cluster]]:
        if everything:
            answer = await calls.stop_matching(connection, calls.cluster_filter(owner=owner, shared=shared))
        else:
            names = [await calls.resolve(connection, cluster) for cluster in clusters or []]
            answer = await calls.stop_many(connection, names)
        read = wait_until_ended if wait else calls.find
        return answer, [await read(connection, name) for name in answer.stopped]

    answer, stopped = call(address, ca_file, action)
    if as_json:
        print_json(stopped)
    elif stopped:
        print_clusters(stopped, owners=bool(owner) or shared)
    elif not answer.failures:
        print("No clusters to stop.")
    if answer.failures:
        failures = {cluster_id(failure.name): failure.message for failure in answer.failures}
        raise StopFailed([cluster_id(name) for name in answer.stopped], failures)


@app.command()
def delete(
    clusters: Annotated[list[str], typer.Argument(metavar="CLUSTER...", help="Ids of clusters that have ended.")],
    *,
    address: Address = None,
    ca_file: CaFile = None,
) -> None:
    """Delete the records, the events and the logs of clusters that have ended."""

    async def action(connection: Connection) -> None:
        for cluster in clusters:
            await calls.delete(connection, cluster)
            print_note(f"Deleted {cluster}")

    call(address, ca_file, action)


cluster_reading.add_to(app)
cluster_sharing.add_to(app)


async def _create(connection: Connection, wanted: Wanted, *, wait: bool) -> cluster_pb2.Cluster:
    with ended_by_signals():
        cluster, created = await get_or_create(connection, wanted)
        if not wait:
            return cluster
        try:
            return await wait_until_running(connection, cluster, _print_event)
        except asyncio.CancelledError:
            if created:
                await calls.stop(connection, cluster.name, _UNDO_SECONDS)
            raise


def _print_event(step: WatchClustersResponse) -> None:
    if step.HasField("event"):
        print_note(event_line(step.event))


def _default_group(size: int, maximum: int) -> list[cluster_pb2.WorkerGroup]:
    if not size and not maximum:
        return []
    bounds = cluster_pb2.AdaptRange(minimum=size, maximum=maximum) if maximum else None
    return [cluster_pb2.WorkerGroup(name="default", size=size, adapt=bounds)]


def _lifetime(text: str) -> timedelta:
    return timedelta(seconds=config.seconds(text, "lifetime"))


def _note_clipped(sentence: str) -> None:
    if sentence:
        print_note(sentence)


def _print_changed(cluster: cluster_pb2.Cluster, *, as_json: bool) -> None:
    if as_json:
        print_json(cluster)
    else:
        print(f"{cluster_id(cluster.name)}: {workers(cluster)} workers")
