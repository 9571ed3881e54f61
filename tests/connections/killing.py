"""Envoy is killed, again and again, under a computation through it."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

import dask.config
from tests.e2e.running import Running, wait_until

from headrace import Gateway
from headrace_up.supervisor import HEALTHY_SECONDS

# `headrace up` waits longer and longer before it starts what fails again and again, until it has run for a while.
_IN_A_ROW = 5
_LONG_ENOUGH = HEALTHY_SECONDS + 1.5


def compute_while_envoy_is_killed(headrace: Running, gateway: Gateway, kills: int, count: int, seconds: float) -> None:
    """Compute so many futures of so many seconds.

    Each third kill is followed by one of an Envoy that starts, the others by one of an Envoy that accepts connections.
    """

    def square(x: int) -> int:
        time.sleep(seconds)
        return x * x

    client: Any
    with dask.config.set({"headrace.connect": "proxied"}), gateway.new_cluster() as cluster:
        cluster.scale(2)
        with cluster.get_client() as client:
            client.wait_for_workers(2, timeout=60)
            futures = client.map(square, range(count), pure=False)
            for number in range(kills):
                if number and number % _IN_A_ROW == 0:
                    wait_until(lambda: time.time() - find_envoy(headrace).create_time() > _LONG_ENOUGH, every=0.2)
                envoy = find_envoy(headrace)
                envoy.kill()
                envoy.wait()  # what is found next is another one
                if number % 3:
                    wait_until(lambda: _listens(headrace.port))
            assert client.gather(futures) == [x * x for x in range(count)]
            assert client.submit(sum, [1, 2], pure=False).result(60) == 3


def find_envoy(headrace: Running) -> Any:
    """Return the process of Envoy as soon as there is one."""
    while True:
        with contextlib.suppress(LookupError):
            return headrace.find("envoy", "bootstrap.json")
        time.sleep(0.01)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
