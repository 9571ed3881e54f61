"""Logs of a cluster's processes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from distributed.utils import Log, Logs

from headrace._dask.option_types import whole_number
from headrace._wire.connection import Connection
from headrace.errors import InvalidRequest, Violation
from headrace.resource_names import cluster_name
from headrace.v1 import cluster_service_pb2


async def stream(
    connection: Connection, cluster: str, process: str | None, tail: int | None, *, follow: bool
) -> AsyncGenerator[tuple[str, str], None]:
    """Yields (process, lines) as they come; with `follow` until the cluster has ended."""
    lines = 0 if tail is None else whole_number("tail", tail)
    if tail is not None and lines < 1:
        raise InvalidRequest.of(Violation("tail", f"must be 1 or more, is {lines}"))
    request = cluster_service_pb2.ReadLogsRequest(
        parent=cluster_name(cluster), process=process or "", tail_lines=lines, follow=follow
    )
    doing = f"reading logs of cluster {cluster}"
    async with aclosing(connection.stream(connection.clusters.ReadLogs, request, doing=doing)) as pieces:
        async for piece in pieces:
            yield piece.process, piece.lines.decode("utf-8", "replace")


async def read(connection: Connection, cluster: str, process: str | None, tail: int | None) -> Logs:
    """Reads what there is: a mapping from process to text, with an HTML view."""
    texts: dict[str, list[str]] = {}
    async with aclosing(stream(connection, cluster, process, tail, follow=False)) as pieces:
        async for name, lines in pieces:
            texts.setdefault(name, []).append(lines)
    return Logs({name: Log("".join(parts)) for name, parts in texts.items()})
