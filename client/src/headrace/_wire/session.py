"""What stands behind each Gateway and GatewayCluster: an event loop and a connection, shared where they can be."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, cast

from tornado.ioloop import IOLoop

from headrace._target.target import Target
from headrace._wire import pool as _pool
from headrace._wire.connection import Connection
from headrace.errors import GatewayServerError


class Session:
    """An event loop, and a connection that is made on it when first needed.

    Parameters
    ----------
    target
        Which headrace.
    loop
        The loop to use. Default: the running one if `asynchronous`, else one in a background thread.
    asynchronous
        Whether its user lives on the loop.
    """

    def __init__(self, target: Target, loop: IOLoop | None, *, asynchronous: bool) -> None:
        self.target = target
        self.asynchronous = asynchronous
        self.closed = False
        self._pid = os.getpid()
        self._runner = _pool.start_loop(loop, asynchronous=asynchronous)
        self._connection: Connection | None = None

    @property
    def loop(self) -> IOLoop:
        """The loop, as Tornado has it."""
        return cast("IOLoop", self._runner.loop)

    @property
    def asyncio_loop(self) -> asyncio.AbstractEventLoop:
        """The loop, as asyncio has it."""
        return cast("asyncio.AbstractEventLoop", cast("Any", self.loop).asyncio_loop)

    @property
    def connection(self) -> Connection:
        """The connection; on the loop only."""
        if self.closed:
            raise GatewayServerError(f"this object for {self.target.address} is closed; make a new Gateway")
        if self._connection is None:
            self._connection = _pool.acquire(self.target)
        return self._connection

    @property
    def inherited(self) -> bool:
        """Whether this process was forked from the one that made it: its loop does not run here."""
        return self._pid != os.getpid()

    def check_process(self) -> None:
        """Refuses to wait for a loop that does not run in this process."""
        if self.inherited:
            raise GatewayServerError(
                f"this object belongs to process {self._pid}, from which process {os.getpid()} was forked: make a new "
                'Gateway here, and start processes with multiprocessing\'s "spawn" or "forkserver"'
            )

    def twin(self) -> Session:
        """Another session for the same, to be closed on its own."""
        return Session(self.target, self.loop, asynchronous=self.asynchronous)

    async def cleanup(self) -> None:
        """Gives the connection back; on the loop."""
        self.closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            await _pool.release(connection)

    def leave_from_loop(self, closing: Coroutine[Any, Any, None]) -> None:
        """Closes from the loop itself, where the garbage collector may run and nobody may wait."""
        task = self.asyncio_loop.create_task(closing)
        task.add_done_callback(lambda _: threading.Thread(target=self.stop_loop, daemon=True).start())

    def stop_loop(self) -> None:
        """Lets go of the loop, which ends when nobody else uses it; from another thread only."""
        _pool.stop_loop(self._runner)
