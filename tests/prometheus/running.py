"""A real Prometheus, configured as in `deploy/prometheus/prometheus.yml`, and scraping each second."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.held_port import held_ports

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "prometheus" / "prometheus.yml"
RULES = (CONFIGURATION.with_name("recording.yml"), CONFIGURATION.with_name("alerts.yml"))
TOKEN = "the-token-of-the-metrics"


class Prometheus:
    """A running one."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._process = process

    @contextmanager
    def suspended(self) -> Generator[None]:
        """Let it answer nothing for a while."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def query(self, promql: str) -> list[dict[str, Any]]:
        """Return the series of an instant query."""
        return self.get("query", {"query": promql})["result"]

    def get(self, what: str, arguments: Mapping[str, str] | None = None) -> Any:
        """Ask the API."""
        with urlopen(f"{self.url}/api/v1/{what}?{urlencode(arguments or {})}", timeout=10) as answer:
            return json.load(answer)["data"]


@contextmanager
def running(directory: Path, *, controller: str, services: list[str], envoy: str = "") -> Generator[Prometheus]:
    """Run one.

    Parameters
    ----------
    controller
        Host and port of the controller's metrics.
    services
        Those of all services.
    envoy
        That of Envoy.
    """
    token = directory / "token"
    token.write_text(TOKEN)
    text = CONFIGURATION.read_text()
    for given, ours in (
        ("15s", "1s"),
        ("60s", "1s"),
        ("/etc/prometheus/headrace-token", str(token)),
        ("http://controller:9100/", f"http://{controller}/"),
        ("[recording.yml, alerts.yml]", json.dumps([str(rules) for rules in RULES])),
        ("[controller:9100, auth:9100, proxy:9100]", json.dumps(services)),
        ("[envoy:9101]", json.dumps([envoy] if envoy else [])),
    ):
        assert given in text
        text = text.replace(given, ours)
    file = directory / "prometheus.yml"
    file.write_text(text)
    with held_ports(1) as (port,):
        arguments = [
            f"--config.file={file}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        with (directory / "log").open("w") as log:
            process = subprocess.Popen(["prometheus", *arguments], stdout=log, stderr=log)
            try:
                _wait_until_ready(port, process, directory / "log")
                yield Prometheus(port, process)
            finally:
                process.kill()
                process.wait()


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            with urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"Prometheus is not ready: {log.read_text()}")
