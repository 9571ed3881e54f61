"""Reading the logs of a cluster's processes."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from headrace._wire import calls
from headrace._wire.connection import Connection
from headrace._wire.resuming import resume
from headrace.v1.cluster_service_pb2 import ReadLogsRequest, ReadLogsResponse


async def read_logs(
    connection: Connection, cluster: str, process: str = "", tail_lines: int = 0, *, follow: bool = False
) -> AsyncGenerator[ReadLogsResponse, None]:
    """Yield pieces of logs (ReadLogs), each once; with `follow` until the cluster has ended."""
    name = await calls.resolve(connection, cluster)
    request = ReadLogsRequest(name=name, process=process, tail_lines=tail_lines, follow=follow)
    pieces = resume(connection, connection.clusters.ReadLogs, request, _remember, doing=f"reading logs of {name}")
    async for piece in pieces:
        yield piece


def _remember(request: ReadLogsRequest, piece: ReadLogsResponse) -> None:
    request.resume_tokens[piece.process] = piece.resume_token
