"""Streams that resume where they ended: when a server drains, the store is away, or the connection is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import grpc.aio

from headrace import errors
from headrace._target import config
from headrace._wire.connection import TRANSIENT, Connection, Request, Response, pause_after
from headrace.backoff import delays


async def resume(
    connection: Connection,
    method: grpc.aio.UnaryStreamMultiCallable[Request, Response],
    request: Request,
    remember: Callable[[Request, Response], None],
    *,
    doing: str,
) -> AsyncGenerator[Response, None]:
    """Yield the responses of a stream until the server ends it; resume it after a transient error.

    Parameters
    ----------
    connection, method, request, doing
        As for `Connection.stream`.
    remember
        Called before each response is yielded, to write into the request where to resume.

    Raises
    ------
    HeadraceError
        What the server raised. A transient error is raised if nothing arrives for ``headrace.timeouts.call``.
    """
    clock = asyncio.get_running_loop().time
    patience = config.get_seconds("timeouts.call")
    silent_since, pauses = clock(), delays()
    while True:
        try:
            async with aclosing(connection.stream(method, request, doing=doing)) as responses:
                async for response in responses:
                    remember(request, response)
                    yield response
                    silent_since, pauses = clock(), delays()
                return
        except TRANSIENT as error:
            if isinstance(error, errors.NotHeadrace) or clock() - silent_since > patience:
                raise
            pause = pause_after(error, next(pauses))
        await asyncio.sleep(pause)
