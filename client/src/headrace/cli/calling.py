"""Calls to headrace from a command: connect, do one thing, hang up."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from headrace._target.target import Target
from headrace._wire.connection import Connection
from headrace.resource_names import cluster_name
from headrace.v1 import cluster_service_pb2

T = TypeVar("T")

_CLUSTER_ID = re.compile(r"c[a-z2-7]{19}")


def call(address: str | None, ca_file: Path | None, action: Callable[[Connection], Awaitable[T]]) -> T:
    """Runs `action` with a connection to the address, or to the one that is configured."""
    return call_target(Target.resolve(address=address, ca_file=str(ca_file) if ca_file else None), action)


def call_target(target: Target, action: Callable[[Connection], Awaitable[T]]) -> T:
    """Runs `action` with a connection."""

    async def run() -> T:
        connection = Connection(target)
        try:
            return await action(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


async def find_cluster(connection: Connection, cluster: str) -> str:
    """Returns the resource name of a cluster that was given by its id, its name or its alias."""
    cluster = cluster.removeprefix("clusters/")
    if _CLUSTER_ID.fullmatch(cluster):
        return cluster_name(cluster)
    request = cluster_service_pb2.GetClusterRequest(name=cluster_name(f"~{cluster.removeprefix('~')}"))
    found = await connection.call(connection.clusters.GetCluster, request, doing=f"looking up cluster {cluster}")
    return found.name
