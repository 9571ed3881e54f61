"""Cancellations that a library has swallowed."""

from __future__ import annotations

import asyncio


def raise_if_cancelled() -> None:
    """Raises if this task was asked to end: called once a round by whatever goes on for ever.

    redis-py sends within `asyncio.wait_for`, which before Python 3.12 loses a cancellation that comes just as
    the sending is done.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
