"""Connections and event loops that the Gateway objects of a process share."""

from __future__ import annotations

import asyncio
import threading
import weakref
from dataclasses import dataclass
from typing import Any, cast

from distributed.utils import LoopRunner
from tornado.ioloop import IOLoop

from headrace._target.target import Target
from headrace._wire.connection import Connection


@dataclass(slots=True)
class _Shared:
    connection: Connection
    users: int = 0


_connections: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[object, _Shared]] = weakref.WeakKeyDictionary()
# Held from the look whether the loop runs until it is taken, and while it ends; the garbage collector may come between.
_loop_lock = threading.RLock()
_loop: weakref.ref[IOLoop] | None = None


def acquire(target: Target) -> Connection:
    """Returns the running loop's connection to `target`; `release` it when done."""
    on_loop = _connections.setdefault(asyncio.get_running_loop(), {})
    key = (target.address, target.ca_pem, type(target.auth), target.auth.cache_key())
    shared = on_loop.get(key)
    if shared is None:
        shared = on_loop[key] = _Shared(Connection(target))
    shared.users += 1
    return shared.connection


async def release(connection: Connection) -> None:
    """Gives a connection back; the last one closes it."""
    on_loop = _connections.get(asyncio.get_running_loop(), {})
    for key, shared in list(on_loop.items()):
        if shared.connection is connection:
            shared.users -= 1
            if shared.users <= 0:
                del on_loop[key]
                await connection.close()


def start_loop(loop: IOLoop | None, *, asynchronous: bool) -> LoopRunner:
    """Starts what runs the event loop of a Gateway; those without one of their own share a thread."""
    global _loop  # noqa: PLW0603 - a process has one such thread
    if loop is not None or asynchronous:
        runner = LoopRunner(loop=loop, asynchronous=asynchronous)
        runner.start()
        return runner
    with _loop_lock:
        runner = LoopRunner(loop=_running_loop())
        runner.start()
        _loop = weakref.ref(cast("IOLoop", runner.loop))
        return runner


def stop_loop(runner: LoopRunner) -> None:
    """Lets go of a loop, which ends with its last user: nobody may take it up meanwhile, and wait on it for ever."""
    with _loop_lock:
        runner.stop()


def _running_loop() -> IOLoop | None:
    loop = _loop() if _loop is not None else None
    return loop if loop is not None and cast("Any", loop).asyncio_loop.is_running() else None
