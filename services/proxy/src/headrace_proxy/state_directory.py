"""The proxy's directory: used by one proxy at a time, with the files that Envoy is started with."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from headrace.errors import GatewayServerError
from headrace.private_files import write_private
from headrace_proxy.config import Settings
from headrace_proxy.envoy.bootstrap import bootstrap
from headrace_proxy.envoy.secrets import write_secrets


@contextmanager
def locked(directory: Path) -> Generator[None]:
    """Hold the directory for the length of the block; raise `GatewayServerError` while another proxy does."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / "proxy.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor, directory)
        with suppress(OSError):  # a full disk must not keep the proxy from running
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def running_proxy(directory: Path) -> int | None:
    """Return the process id of the proxy that holds the directory, or None if none does."""
    try:
        descriptor = os.open(directory / "proxy.lock", os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        content = os.pread(descriptor, 20, 0)
        return int(content) if content.isdigit() else None
    finally:
        os.close(descriptor)
    return None


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace")
        raise GatewayServerError(
            f"another proxy (pid {holder or 'unknown'}) uses {directory}: stop it, or choose another directory with "
            "HEADRACE_PROXY_STATE_DIRECTORY"
        ) from None


def write_bootstrap(settings: Settings) -> Path:
    """Write everything that Envoy reads at its start; return the file for its `--config-path`."""
    directory = settings.state_directory
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_secrets(settings)
    path = directory / "bootstrap.json"
    write_private(path, json.dumps(bootstrap(settings), indent=1))
    return path
