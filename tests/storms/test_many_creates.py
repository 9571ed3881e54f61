"""Many clusters at once on one machine: all of them run, in a bounded time and a bounded amount of memory."""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tests.e2e.running import Running, running, wait_until

from headrace import ClusterStatus, Gateway

CREATES = int(os.environ.get("HEADRACE_TEST_CREATES", "20"))
ENVIRONMENT = {
    "HEADRACE_CONTROLLER_LIMITS__USER__CLUSTERS": str(CREATES),
    # How long all take is for this test to judge.
    "HEADRACE_CONTROLLER_START_TIMEOUT_SECONDS": "900",
}
SECONDS = 60 + 2 * CREATES
"""Time within which all run, on two cores that have other work as well."""
MEMORY = (1 << 30) + CREATES * (48 << 20)
"""Bytes that all processes may use together. Pages that forked processes share count once."""


@pytest.mark.timeout(1800)
def test_many_creates_at_once_all_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="hr-storm-") as name,
        running(Path(name), environment=ENVIRONMENT) as headrace,
    ):
        monkeypatch.setenv("HEADRACE_DATA_DIR", str(headrace.data))
        with Gateway() as gateway:
            start = time.monotonic()
            with ThreadPoolExecutor(32) as threads:
                submitted = [threads.submit(gateway.submit) for _ in range(CREATES)]
                names = {one.result() for one in submitted}
            wait_until(lambda: names == running_clusters(gateway), within=SECONDS, every=0.5)
            taken, used = time.monotonic() - start, memory(headrace)
            print(f"{CREATES} clusters ran after {taken:.1f} s, with {used / 2**20:.0f} MiB in all")
            assert used < MEMORY
            with gateway.connect(names.pop()) as cluster, cluster.get_client() as client:
                cluster.scale(1)
                assert client.submit(sum, [1, 2]).result(60) == 3
            gateway.stop_all()
            wait_until(lambda: gateway.list_clusters() == [], within=SECONDS, every=0.5)


def running_clusters(gateway: Gateway) -> set[str]:
    return {report.name for report in gateway.list_clusters() if report.status is ClusterStatus.RUNNING}


def memory(headrace: Running) -> int:
    """Proportional set size of all processes."""
    total = 0
    for process in headrace.processes():
        with suppress(psutil.NoSuchProcess):
            total += psutil.Process(process.pid).memory_full_info().pss
    return total
