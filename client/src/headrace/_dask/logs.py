"""Logs of a cluster's processes, as text."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from distributed.utils import Log, Logs

from headrace._dask.specification import count
from headrace._wire.connection import Connection
from headrace._wire.logs import read_logs


async def stream(
    connection: Connection, cluster: str, process: str | None, tail: int | None, *, follow: bool = False
) -> AsyncGenerator[tuple[str, str], None]:
    """Yield (process, lines); with `follow` until the cluster has ended."""
    tail_lines = 0 if tail is None else count("tail", tail, 1, 2**31 - 1)
    pieces = read_logs(connection, cluster, process or "", tail_lines, follow=follow)
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece.process, piece.lines.decode("utf-8", "replace")


async def read(connection: Connection, cluster: str, process: str | None, tail: int | None) -> Logs:
    """Return a mapping from process to text, with a view for notebooks."""
    texts: dict[str, list[str]] = {}
    async with aclosing(stream(connection, cluster, process, tail)) as pieces:
        async for name, lines in pieces:
            texts.setdefault(name, []).append(lines)
    return Logs({name: Log("".join(parts)) for name, parts in texts.items()})
