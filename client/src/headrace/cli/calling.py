"""Runs what a command does with a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

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
