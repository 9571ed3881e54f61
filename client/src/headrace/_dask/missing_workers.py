"""Why workers have not arrived, for the error of those who wait for them."""

from __future__ import annotations

import asyncio

from headrace._wire import calls
from headrace._wire.connection import Connection
from headrace.errors import HeadraceError
from headrace.v1 import cluster_pb2

_SECONDS = 2.0


async def why_missing(connection: Connection, cluster: str) -> str:
    """Returns "; 2 have not joined, such as default-0-abcdef: 0/4 nodes are available"; "" if nobody says why."""
    try:
        async with asyncio.timeout(_SECONDS):
            workers = await calls.workers(connection, cluster)
    except (HeadraceError, TimeoutError):
        return ""
    pending = [worker for worker in workers if worker.state == cluster_pb2.WORKER_STATE_PENDING]
    told = next((worker for worker in pending if worker.message), None)
    if told is None:
        return ""
    name = told.name.rpartition("/")[2]
    return f"; {len(pending)} {'has' if len(pending) == 1 else 'have'} not joined, such as {name}: {told.message}"
