"""Clusters, workers and events as people read them."""

from __future__ import annotations

from collections.abc import Iterable

from headrace._wire.calls import cluster_id
from headrace._wire.option_values import shown
from headrace._wire.words import condition_type, event_type, word
from headrace.cli.output import age, duration, local_time, print_table, printable
from headrace.sizes import describe_bytes
from headrace.v1 import cluster_pb2, options_service_pb2
from headrace.v1.right_pb2 import Right


def phase(cluster: cluster_pb2.Cluster) -> str:
    return word(cluster_pb2.Phase.DESCRIPTOR, cluster.status.phase).lower()


def print_clusters(clusters: Iterable[cluster_pb2.Cluster], *, owners: bool) -> None:
    """Print a table of clusters, with their owners if they may differ."""
    columns = ["CLUSTER", "NAME", *(["OWNER"] if owners else []), "PHASE", "WORKERS", "AGE", "MESSAGE"]
    rows = (
        [
            cluster_id(cluster.name),
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


def print_cluster(cluster: cluster_pb2.Cluster, options: Iterable[options_service_pb2.Option]) -> None:
    """Print everything about a cluster, a fact a line. Options say which values are sizes."""
    by_key = {option.key: option for option in options}
    spec, status = cluster.spec, cluster.status
    reason = word(cluster_pb2.EndReason.DESCRIPTOR, status.reason)
    facts = [
        ("cluster", cluster_id(cluster.name)),
        ("name", spec.alias),
        ("owner", cluster.owner.removeprefix("users/")),
        ("profile", spec.profile),
        ("phase", f"{phase(cluster)} ({reason})" if reason else phase(cluster)),
        ("message", status.message),
        ("workers", workers(cluster)),
        ("created", local_time(cluster.create_time)),
        ("ended", local_time(cluster.end_time)),
        ("lifetime", duration(spec.lifetime.seconds) if spec.HasField("lifetime") else ""),
        *(("option", f"{key} = {shown(value, by_key.get(key))}") for key, value in sorted(spec.options.items())),
        *(
            ("option", f"{key} = {shown(value, by_key.get(key))} (workers of {group.name})")
            for group in spec.worker_groups
            for key, value in sorted(group.options.items())
        ),
        *(("tag", f"{key} = {value}") for key, value in sorted(spec.tags.items())),
        *(("share", share_line(share)) for share in cluster.shares),
        *(("condition", condition_line(condition)) for condition in status.conditions),
        *(("version", f"{name} {version}") for name, version in sorted(status.versions.items())),
    ]
    for name, fact in facts:
        if fact:
            print(f"{name:<10} {printable(fact)}")
    if status.log_tail:
        print("last lines of the log:", *map(printable, status.log_tail.rstrip().split("\n")), sep="\n")


def print_workers(found: Iterable[cluster_pb2.Worker]) -> None:
    """Print a table of workers."""
    rows = (
        [
            worker.name.rpartition("/")[2],
            worker.group,
            word(cluster_pb2.WorkerState.DESCRIPTOR, worker.state).lower(),
            f"{worker.resources.cores:g}",
            describe_bytes(memory) if (memory := worker.resources.memory_bytes) else "-",
            worker.host or "-",
            age(worker.create_time),
            worker.message or _exit(worker),
        ]
        for worker in found
    )
    columns = ["WORKER", "GROUP", "STATE", "CORES", "MEMORY", "HOST", "AGE", "MESSAGE"]
    print_table(columns, rows, empty="No workers.")


def workers(cluster: cluster_pb2.Cluster) -> str:
    """Return running and desired workers of each group, with the range of adaptive scaling: "3/4 (1 to 8)"."""
    seen = {group.name: group for group in cluster.status.worker_groups}
    several = len(cluster.spec.worker_groups) > 1
    return ", ".join(
        f"{f'{group.name} ' if several else ''}{_counts(group, seen.get(group.name))}{_range(group)}"
        for group in cluster.spec.worker_groups
    )


def event_line(event: cluster_pb2.ClusterEvent) -> str:
    """Return an event as one line."""
    severity = word(cluster_pb2.Severity.DESCRIPTOR, event.severity).lower()
    mark = "" if event.severity == cluster_pb2.SEVERITY_INFO else f"{severity}: "
    return f"{local_time(event.time)}  {event_type(event.type):<20}  {mark}{printable(event.message)}"


def condition_line(condition: cluster_pb2.Condition) -> str:
    """Return a condition as one line: "Reachable is unknown: the agent is silent since ..."."""
    status = word(cluster_pb2.ConditionStatus.DESCRIPTOR, condition.status).lower()
    why = f": {condition.message}" if condition.message else ""
    return f"{condition_type(condition.type)} is {status}{why}"


def share_line(share: cluster_pb2.Share) -> str:
    """Return a share as one line: "users/bob may view, connect"."""
    rights = [word(Right.DESCRIPTOR, right).removeprefix("CLUSTER_").lower() for right in share.rights]
    until = f" until {local_time(share.expire_time)}" if share.HasField("expire_time") else ""
    return f"{share.member} may {', '.join(rights)}{until}"


def _counts(group: cluster_pb2.WorkerGroup, status: cluster_pb2.WorkerGroupStatus | None) -> str:
    return f"{status.running}/{status.desired}" if status is not None else f"0/{group.size}"


def _range(group: cluster_pb2.WorkerGroup) -> str:
    if not group.HasField("adapt"):
        return ""
    maximum = str(group.adapt.maximum) if group.adapt.HasField("maximum") else "no fixed maximum"
    return f" ({group.adapt.minimum} to {maximum})"


def _exit(worker: cluster_pb2.Worker) -> str:
    if not worker.HasField("exit"):
        return ""
    cause = word(cluster_pb2.ExitCause.DESCRIPTOR, worker.exit.cause).lower().replace("_", " ")
    return f"{cause} (exit code {worker.exit.exit_code})" if worker.exit.HasField("exit_code") else cause
