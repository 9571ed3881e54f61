"""Envoy is restarted as planned, under load and with a stop watch: nothing fails, and nobody waits."""

from __future__ import annotations

import logging
import signal
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.config
import psutil
import pytest
from tests.e2e.running import Running, running, wait_until

from headrace import Gateway

GENEROUS_SECONDS = 5.0  # on a busy machine; what was measured is printed


@pytest.fixture(scope="module")
def headrace() -> Iterator[Running]:
    """A headrace whose Envoys are replaced."""
    with tempfile.TemporaryDirectory(prefix="hr-e2e-") as name, running(Path(name)) as headrace:
        yield headrace


class StopWatch:
    """Makes a call again and again, and measures the longest time without success."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.calls = 0
        self.longest = 0.0
        self._call = call

    def run(self, stop: threading.Event) -> None:
        last = time.monotonic()
        while not stop.wait(0.01):
            self._call()
            now = time.monotonic()
            self.calls, self.longest, last = self.calls + 1, max(self.longest, now - last), now


def test_nobody_waits_while_envoy_is_replaced(
    headrace: Running, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "headrace.connection")
    client: Any
    with (
        dask.config.set({"headrace.connect": "proxied"}),
        gateway.new_cluster() as cluster,
        cluster.get_client() as client,
    ):
        cluster.scale(1)
        client.wait_for_workers(1, timeout=60)
        futures = client.map(abs, range(100))
        client.gather(futures)
        scheduler = int(client.scheduler_info()["address"].rpartition(":")[2])
        port, context = headrace.port, ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        calls: dict[str, Callable[[], object]] = {
            "a task": lambda: client.submit(abs, -1, pure=False).result(timeout=60),
            "GetCluster": lambda: gateway.get_cluster(cluster.name),
            "a new connection": lambda: _connect(port, context),
        }
        watches = {name: StopWatch(call) for name, call in calls.items()}
        stop = threading.Event()
        with ThreadPoolExecutor(len(watches)) as pool:
            running_watches = [pool.submit(watch.run, stop) for watch in watches.values()]
            try:
                _all_advance(watches, running_watches)
                first = headrace.find("bin/envoy")
                assert _connections(first, scheduler)
                _replace_envoy(headrace, 1)
                wait_until(lambda: not _connections(first, scheduler), within=60)
                assert _runs(first), "the clients have moved while it would still have served"
                _all_advance(watches, running_watches)
                _replace_envoy(headrace, 2)
                wait_until(lambda: not _runs(first), within=60)
                _all_advance(watches, running_watches)
            finally:
                stop.set()
        for each in running_watches:
            each.result()
        assert sum(client.gather(futures)) == 4950
        assert "a connection broke" not in caplog.text
    print(", ".join(f"{name}: {watch.longest * 1000:.0f} ms of {watch.calls}" for name, watch in watches.items()))
    assert max(watch.longest for watch in watches.values()) < GENEROUS_SECONDS


def _replace_envoy(headrace: Running, count: int) -> None:
    headrace.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: headrace.output.read_text().count("envoy was replaced") == count, within=60)


def _all_advance(watches: dict[str, StopWatch], running_watches: list[Future[None]]) -> None:
    before = {name: watch.calls for name, watch in watches.items()}
    wait_until(
        lambda: (
            all(watch.calls >= before[name] + 10 for name, watch in watches.items())
            or any(each.done() for each in running_watches)
        ),
        within=60,
    )


def _connect(port: int, context: ssl.SSLContext) -> None:
    """Ask the public port for a page by a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), 30) as plain, context.wrap_socket(plain) as secure:
        secure.sendall(b"GET /none HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert secure.recv(1000).startswith(b"HTTP/1.1 404")


def _connections(envoy: psutil.Process, scheduler: int) -> int:
    """Return the number of an Envoy's connections to a scheduler."""
    return sum(bool(each.raddr) and each.raddr.port == scheduler for each in envoy.net_connections("tcp"))


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
