"""What Prometheus waits for: the controller's metrics, and the lists of schedulers and of their workers."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.growth.tables import Row
from redis.asyncio import Redis
from tests.controller.builders import new_cluster_id, running_cluster, running_worker

from headrace_chassis.identity.dashboard_keys import MetricsKeys
from headrace_chassis.metrics_page import metrics_page
from headrace_chassis.redis.keys import Prefix
from headrace_chassis.redis.leases import ShardLeases
from headrace_controller.keys import Keys
from headrace_controller.mirror import ClusterMirror
from headrace_controller.reconciling.cluster_metrics import ClusterMetrics
from headrace_controller.reconciling.live_schedulers import LiveSchedulers
from headrace_controller.reconciling.shards import Shards
from headrace_controller.signals.http import connect
from headrace_controller.signals.service_discovery import PATH, WORKERS_PATH, target_groups, worker_target_groups
from headrace_controller.store import Store

_USERS, _REPEATED = 200, 9
_PAUSE_SECONDS = 0.001
_TOKEN = "benchmark"
_PAGES = ("/metrics", PATH, WORKERS_PATH)
_MOST_BYTES = 64 * 1024 * 1024


async def measure(small: bool) -> AsyncIterator[list[Row]]:
    """A table for each page; clusters have one worker."""
    by_size = [await _rows(count) for count in ((100, 1_000) if small else (1_000, 10_000))]
    for rows in zip(*by_size, strict=True):
        yield list(rows)


async def _rows(count: int) -> list[Row]:
    with _controller(count) as port:
        return [await _row(count, port, path) for path in _PAGES]


async def _row(count: int, port: int, path: str) -> Row:
    cpu: list[float] = []
    seconds: list[float] = []
    size = 0
    async with _standing_still() as stood:
        for _ in range(_REPEATED):
            cpu_before, before = time.process_time(), time.monotonic()
            size = await _get(port, path)
            cpu.append(time.process_time() - cpu_before)
            seconds.append(time.monotonic() - before)
    figures = {
        "kB": size / 1e3,
        "CPU, ms": median(cpu) * 1e3,
        "answered after, ms": median(seconds) * 1e3,
        "event loop stood still for at most, ms": max(stood) * 1e3,
    }
    return Row(count, f"clusters: {path}", figures)


@contextmanager
def _controller(count: int) -> Generator[int]:
    """Serve the pages of a controller that knows this number of clusters; yields the port."""
    redis, prefix = Redis(), Prefix("unused")  # nothing is read from it
    mirror = ClusterMirror(Store(redis, Keys(prefix)))
    mirror.connect(ClusterMetrics(lambda _: True, clock=time.time))
    for n in range(count):
        address = {"dashboard_address": f"10.0.{n // 250}.{n % 250}:8787"}
        cluster = running_cluster(running_worker(), owner=f"user-{n % _USERS}", report=address)
        mirror.apply(replace(cluster, id=new_cluster_id()))
    mirror.ready.set()
    live = LiveSchedulers(mirror, Shards(ShardLeases(redis, prefix, "replica", shards=1), 1, clock=time.time))
    key = MetricsKeys([b"k" * 32], "benchmark").of
    pages = {
        PATH: lambda: target_groups(live.all(), key),
        WORKERS_PATH: lambda: worker_target_groups(live.all(), key),
    }
    with tempfile.NamedTemporaryFile() as token, socket.create_server(("127.0.0.1", 0)) as unused:
        Path(token.name).write_text(_TOKEN, "utf-8")
        port = unused.getsockname()[1]
        unused.close()
        with metrics_page(f"127.0.0.1:{port}", Path(token.name), pages):
            yield port


async def _get(port: int, path: str) -> int:
    connection = await connect("127.0.0.1", port)
    answer = await connection.get(path, headers={"Authorization": f"Bearer {_TOKEN}"}, most_bytes=_MOST_BYTES)
    assert answer.status == 200, answer.body
    return len(answer.body)


@asynccontextmanager
async def _standing_still() -> AsyncGenerator[list[float]]:
    """Note for how long other work of this event loop has to wait: the list has the seconds afterwards."""
    waits = [0.0]

    async def run() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0)
            waits.append(time.monotonic() - before)
            await asyncio.sleep(_PAUSE_SECONDS)

    running = asyncio.create_task(run())
    try:
        yield waits
    finally:
        running.cancel()
