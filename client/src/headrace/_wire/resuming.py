"""Streams that resume where they ended: when a server drains, the store is away, or the connection is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import grpc.aio

from headrace import errors
from headrace._target import config
from headrace._wire.connection import TRANSIENT, Connection, Request, Response, pause_after
from headrace.backoff import delays

logger = logging.getLogger("headrace.connection")

# Shorter interruptions are not worth a word.
_QUIET_SECONDS = 1.0
# An attempt to connect fails sooner: what lasted longer was connected, and had nothing to say.
_CONNECTED_SECONDS = 15.0


async def resume(
    connection: Connection,
    method: grpc.aio.UnaryStreamMultiCallable[Request, Response],
    request: Request,
    remember: Callable[[Request, Response], None],
    *,
    doing: str,
    tell: Callable[[errors.HeadraceError], object] | None = None,
) -> AsyncGenerator[Response, None]:
    """Yield the responses of a stream until the server ends it; resume it after a transient error.

    Parameters
    ----------
    connection, method, request, doing
        As for `Connection.stream`.
    remember
        Called before each response is yielded, to write into the request where to resume.
    tell
        Called once in each interruption that lasts, before the stream is asked for again. Default: log it.

    Raises
    ------
    HeadraceError
        What the server raised. A transient error is raised if the stream cannot be resumed for
        ``headrace.timeouts.call``, or, once something arrived, for ``headrace.session-grace`` if that is longer.
    """
    clock = asyncio.get_running_loop().time
    patience = config.get_seconds("timeouts.call")
    failing_since, told, pauses = None, False, delays()
    while True:
        began = clock()
        try:
            async with aclosing(connection.stream(method, request, doing=doing)) as responses:
                async for response in responses:
                    remember(request, response)
                    yield response
                    patience = max(patience, config.get_seconds("session-grace"))
                    failing_since, told, pauses = None, False, delays()
                return
        except TRANSIENT as error:
            now = clock()
            if failing_since is None or now - began > _CONNECTED_SECONDS:
                failing_since = now
            if isinstance(error, errors.NotHeadrace) or now - failing_since > patience:
                raise
            if not told and now - failing_since > _QUIET_SECONDS:
                told = True
                if tell:
                    tell(error)
                else:
                    logger.warning("%s is interrupted, trying again for %.0f s at most: %s", doing, patience, error)
            pause = pause_after(error, next(pauses))
        await asyncio.sleep(pause)
