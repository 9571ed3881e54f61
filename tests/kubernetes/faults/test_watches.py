"""Watches of the API server break again and again: users notice nothing of it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.kubernetes.faults.breakable import Breakable
from tests.kubernetes.faults.seen import MARKS
from tests.kubernetes.faults.system import System
from tests.kubernetes.running import until

from headrace import Gateway

pytestmark = MARKS


@contextmanager
def breaking(api: Breakable, seconds: float) -> Generator[list[int]]:
    """Cuts all connections every so many seconds; yields how many were cut each time."""
    cut: list[int] = []
    over = threading.Event()

    def run() -> None:
        while not over.wait(seconds):
            cut.append(api.cut())

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            yield cut
        finally:
            over.set()
            running.result()


def test_clusters_come_and_go_while_watches_break_every_few_seconds(headrace: System, gateway: Gateway) -> None:
    """Their pods are pretended: they run, end when told to, and need no processor."""
    names: list[str] = []
    with breaking(headrace.api, 2) as cut:
        while len(cut) < 3:
            names += _come_and_go(gateway, 20)
    assert sum(cut) > len(cut)
    assert [name for name in names if len(headrace.ever(name)) > 1] == []  # one that ends late is deleted
    assert [name for name in names if headrace.pods(name)] == []


def _come_and_go(gateway: Gateway, number: int) -> list[str]:
    """Starts and stops clusters; returns their names."""
    names = [gateway.submit(profile="pretended") for _ in range(number)]
    for name in names:
        until(
            lambda name=name: gateway.get_cluster(name).message.startswith("The scheduler's process runs."),
            f"{name} is seen to run",
        )
        gateway.stop_cluster(name)
    for name in names:
        until(lambda name=name: gateway.get_cluster(name).status.name == "STOPPED", f"{name} has stopped")
    return names
