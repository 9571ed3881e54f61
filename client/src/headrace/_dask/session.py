"""What each Gateway and GatewayCluster uses: an event loop and a connection, shared where possible."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, cast

from distributed.utils import LoopRunner
from tornado.ioloop import IOLoop

from headrace._target.target import Target
from headrace._wire import pool
from headrace._wire.connection import Connection
from headrace.errors import GatewayServerError

# Held while a loop is started, and while it is stopped: a new user must not acquire a loop that stops. Reentrant, since
# the garbage collector may close a Gateway at any point.
_loop_lock = threading.RLock()
_shared_loop: weakref.ref[IOLoop] | None = None


class Session:
    """An event loop, and a connection that is opened on it when first needed.

    Parameters
    ----------
    target
        The headrace to talk to.
    loop
        The loop to use. Default: the running one if `asynchronous`, else one in a background thread.
    asynchronous
        Whether its user runs on the loop.
    """

    def __init__(self, target: Target, loop: IOLoop | None, *, asynchronous: bool) -> None:
        self.target = target
        self.asynchronous = asynchronous
        self.closed = False
        self._pid = os.getpid()
        self._runner = start_loop(loop, asynchronous=asynchronous)
        self._connection: Connection | None = None

    @property
    def loop(self) -> IOLoop:
        """Tornado's view of the loop."""
        return cast("IOLoop", self._runner.loop)

    @property
    def asyncio_loop(self) -> asyncio.AbstractEventLoop:
        return cast("asyncio.AbstractEventLoop", cast("Any", self.loop).asyncio_loop)

    @property
    def connection(self) -> Connection:
        """The connection; for code that runs on the loop."""
        if self.closed:
            raise GatewayServerError(f"this object for {self.target.address} is closed; make a new Gateway")
        if self._connection is None:
            self._connection = pool.acquire(self.target)
        return self._connection

    @property
    def inherited(self) -> bool:
        """Whether this process was forked from the one that made the session: the loop does not run here."""
        return self._pid != os.getpid()

    def check_process(self) -> None:
        """Raise an error in a forked process, which would wait forever for the loop."""
        if self.inherited:
            raise GatewayServerError(
                f"this object belongs to process {self._pid}, from which process {os.getpid()} was forked: start "
                'processes with multiprocessing\'s "spawn" or "forkserver", and make a new Gateway there'
            )

    def clone(self) -> Session:
        """Return another session for the same target and loop, to be closed by itself."""
        return Session(self.target, self.loop, asynchronous=self.asynchronous)

    async def cleanup(self) -> None:
        """Release the connection. Runs on the loop."""
        self.closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            await pool.release(connection)

    def close_from_loop(self, closing: Coroutine[Any, Any, None]) -> None:
        """Run `closing` and then stop the loop, without waiting: the garbage collector may run on the loop itself."""
        task = self.asyncio_loop.create_task(closing)
        task.add_done_callback(lambda _: threading.Thread(target=self.stop_loop, daemon=True).start())

    def stop_loop(self) -> None:
        """Stop using the loop, which stops with its last user. Call it from another thread."""
        stop_loop(self._runner)


def start_loop(loop: IOLoop | None, *, asynchronous: bool) -> LoopRunner:
    """Start to use an event loop. Those that bring no loop share one in a background thread."""
    global _shared_loop  # noqa: PLW0603 - a process has one such thread
    if loop is not None or asynchronous:
        runner = LoopRunner(loop=loop, asynchronous=asynchronous)
        runner.start()
        return runner
    with _loop_lock:
        runner = LoopRunner(loop=_running_loop())
        runner.start()
        _shared_loop = weakref.ref(cast("IOLoop", runner.loop))
        return runner


def stop_loop(runner: LoopRunner) -> None:
    """Stop using an event loop."""
    with _loop_lock:
        runner.stop()


def _running_loop() -> IOLoop | None:
    loop = _shared_loop() if _shared_loop is not None else None
    return loop if loop is not None and cast("Any", loop).asyncio_loop.is_running() else None


def _after_fork() -> None:
    """Discard the parent's loop in a forked process: no thread runs it here, and no thread would release the lock."""
    global _loop_lock, _shared_loop
    _loop_lock, _shared_loop = threading.RLock(), None


os.register_at_fork(after_in_child=_after_fork)
