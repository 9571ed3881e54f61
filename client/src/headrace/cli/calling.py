"""Runs what a command does with a connection."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import typer

from headrace._target.target import Target
from headrace._wire.connection import Connection

T = TypeVar("T")


def call(address: str | None, ca_file: Path | None, action: Callable[[Connection], Awaitable[T]]) -> T:
    """Run `action` with a connection to the address, by default the configured one."""
    return call_target(Target.resolve(address=address, ca_file=str(ca_file) if ca_file else None), action)


def call_target(target: Target, action: Callable[[Connection], Awaitable[T]]) -> T:
    """Run `action` with a connection, and close it."""

    async def run() -> T:
        connection = Connection(target)
        try:
            return await action(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


@contextmanager
def ended_by_signals() -> Generator[None]:
    """Have SIGTERM and SIGHUP cancel what runs, as Ctrl-C does. Signals that are ignored stay so, as with nohup."""
    loop, task, received = asyncio.get_running_loop(), asyncio.current_task(), list[int]()
    assert task

    def on_signal(number: int) -> None:
        received.append(number)
        task.cancel()

    handled = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) != signal.SIG_IGN]
    for number in handled:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    except asyncio.CancelledError:
        if not received:
            raise
        raise typer.Exit(128 + received[0]) from None
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
