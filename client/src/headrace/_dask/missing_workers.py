"""Why workers have not arrived, for the error of those who wait for them."""

from __future__ import annotations

import asyncio

from headrace._wire import calls
from headrace._wire.connection import Connection
from headrace.errors import HeadraceError
from headrace.v1 import cluster_pb2

_SECONDS = 2.0


async def why_missing(connection: Connection, cluster: str, wanted: int, states: dict[str, str]) -> str:
    """Returns "; 2 have not joined, such as default-0-abcdef: 0/4 nodes are available"; "" if nobody says why.

    Parameters
    ----------
    wanted
        Number of workers that are waited for.
    states
        What the scheduler says of each worker that has joined, by its address: "running" or "paused", for example.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            workers = await calls.workers(connection, cluster)
            record = await calls.find(connection, cluster)
    except (HeadraceError, TimeoutError):
        return ""
    pending = [worker for worker in workers if worker.state == cluster_pb2.WORKER_STATE_PENDING]
    if (told := next((worker for worker in pending if worker.message), None)) is not None:
        name = told.name.rpartition("/")[2]
        return f"; {_have(len(pending))} not joined, such as {name}: {told.message}"
    for address, state in states.items():
        if state != "running":
            return f"; {address} has joined and is {state}"
    if (desired := sum(group.desired for group in record.status.worker_groups)) < wanted:
        return f"; the cluster is scaled to {desired}"
    if (joined := sum(group.running for group in record.status.worker_groups)) > len(states):
        return f"; {_have(joined)} joined, but the scheduler did not answer in time"
    return f"; {_have(desired - joined)} not joined" if joined < desired else ""


def _have(number: int) -> str:
    return f"{number} {'has' if number == 1 else 'have'}"
