"""Clusters and their events as people read them."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.cli.output import age, local_time, print_table
from headrace.v1 import cluster_pb2

ENDED = (cluster_pb2.PHASE_STOPPED, cluster_pb2.PHASE_FAILED)


def cluster_id(cluster: cluster_pb2.Cluster) -> str:
    """The id alone."""
    return cluster.name.removeprefix("clusters/")


def phase(cluster: cluster_pb2.Cluster) -> str:
    """The phase in a word."""
    return cluster_pb2.Phase.Name(cluster.status.phase).removeprefix("PHASE_").lower()


def print_clusters(clusters: Iterable[cluster_pb2.Cluster], *, owners: bool) -> None:
    """Prints a table of clusters, with their owners where they may differ."""
    columns = ["CLUSTER", "ALIAS", *(["OWNER"] if owners else []), "PHASE", "WORKERS", "AGE", "MESSAGE"]
    rows = (
        [
            cluster_id(cluster),
            cluster.spec.alias or "-",
            *([cluster.owner.removeprefix("users/")] if owners else []),
            phase(cluster),
            workers(cluster),
            age(cluster.create_time),
            cluster.status.message,
        ]
        for cluster in clusters
    )
    print_table(columns, rows, empty="No clusters. Make one with `headrace clusters create`.")


def workers(cluster: cluster_pb2.Cluster) -> str:
    """Running of wanted workers, with the bounds of adaptive scaling; one entry for each group."""
    running = {group.name: group.running for group in cluster.status.worker_groups}
    several = len(cluster.spec.worker_groups) > 1
    return ", ".join(
        f"{f'{group.name} ' if several else ''}{running.get(group.name, 0)}/{group.size}{_bounds(group)}"
        for group in cluster.spec.worker_groups
    )


def _bounds(group: cluster_pb2.WorkerGroup) -> str:
    return f" ({group.adapt.minimum} to {group.adapt.maximum})" if group.HasField("adapt") else ""


def event_line(event: cluster_pb2.ClusterEvent) -> str:
    """One event in one line."""
    word = cluster_pb2.Severity.Name(event.severity).removeprefix("SEVERITY_").lower()
    mark = "" if event.severity == cluster_pb2.SEVERITY_INFO else f"{word}: "
    return f"{local_time(event.time)}  {event.type:<20}  {mark}{event.message}"
