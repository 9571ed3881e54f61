"""Changes of a field that depend on what it was."""

from __future__ import annotations

from collections.abc import Callable

from headrace._wire import calls
from headrace._wire.connection import Connection
from headrace.errors import StaleEtag
from headrace.v1 import cluster_pb2

_MAX_ATTEMPTS = 10


async def rewrite(
    connection: Connection, cluster: str, path: str, write: Callable[[cluster_pb2.Cluster, cluster_pb2.Cluster], None]
) -> cluster_pb2.Cluster:
    """Read a cluster, `write` the new field at `path`, and update it; repeat if another client wrote in between."""
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        existing = await calls.find(connection, cluster)
        changed = cluster_pb2.Cluster(name=existing.name, etag=existing.etag)
        write(existing, changed)
        try:
            return await calls.update(connection, changed, [path])
        except StaleEtag:
            if attempt == _MAX_ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")
