"""The proxy's directory: one proxy at a time, and the files that Envoy reads."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from headrace.errors import GatewayServerError
from headrace_proxy.config import Settings
from headrace_proxy.envoy.public_certificate import check_certificate, secret, secret_path


@contextmanager
def locked(directory: Path) -> Generator[None]:
    """Makes the directory and holds it; raises `GatewayServerError` while another proxy does."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / "proxy.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor, directory)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace")
        raise GatewayServerError(
            f"another proxy (pid {holder or 'unknown'}) uses {directory}; end it, or choose another with "
            "HEADRACE_PROXY_STATE_DIRECTORY"
        ) from None


def write_public_certificate(settings: Settings) -> None:
    """Checks the public certificate and tells Envoy where it lies."""
    check_certificate(settings.public_certificate_file, settings.public_key_file)
    path = secret_path(settings.state_directory)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(secret(settings.public_certificate_file, settings.public_key_file), indent=1))
    temporary.replace(path)
