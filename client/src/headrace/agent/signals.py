"""Signals of the operating system: reset after a fork, and awaited as the request to end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from types import FrameType


def reset() -> None:
    """Removes the handlers inherited from the process that this one was forked from."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    _end_at_once()


async def wait_for_end() -> str:
    """Waits for SIGINT or SIGTERM and returns its name; the same signal again ends the process at once.

    The first process of a container ignores it then, since what it does to end must not be lost.
    """
    loop = asyncio.get_running_loop()
    caught: asyncio.Future[str] = loop.create_future()

    def handle(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        if not caught.done():
            caught.set_result(number.name)

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, handle, number)
    try:
        return await caught
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
        if caught.cancelled():
            _end_at_once()


def _end_at_once() -> None:
    """Lets SIGTERM end this process. For the first one of a container the default is to ignore it."""
    signal.signal(signal.SIGTERM, _end if os.getpid() == 1 else signal.SIG_DFL)


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
