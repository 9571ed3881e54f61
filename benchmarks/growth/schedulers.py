"""Simulated schedulers: ``python -m benchmarks.growth.schedulers`` answers on all addresses of 127.0.0.0/8.

It prints its port, and answers as a real scheduler does. Below /api it is a Prometheus that has scraped
the clusters whose names it reads from its input.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import uvloop
from tests.controller.signals.pages import key, scheduler

from headrace_chassis.addresses import host_port
from headrace_controller.signals.collection import METRICS_PATH
from headrace_controller.signals.http import KEEP
from headrace_controller.signals.reading import parse_page

ROOT = Path(__file__).parents[2]
_BACKLOG = 4096
_TIME = b"1000000000.000"


@asynccontextmanager
async def simulated_schedulers(clusters: Iterable[str] = ()) -> AsyncGenerator[int]:
    """Run them in another process; yields their port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.growth.schedulers", cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write("\n".join(clusters).encode())
        process.stdin.close()
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


class _Server(asyncio.Protocol):
    def __init__(self, page: bytes, series: bytes) -> None:
        self._page = page
        self._series = series

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Requests are small: each comes at once."""
        if data.startswith(b"GET /api"):
            now = b"%14.3f" % time.time()  # an answer that is the one before again is refused
            self._transport.write(self._series.replace(_TIME, now, 1))
        else:
            self._transport.write(self._page)
        if b"keep-alive" not in data:
            self._transport.close()


async def main(clusters: list[str]) -> None:
    logging.disable()
    page = await _page()
    series = _series(clusters, page)
    server = await asyncio.get_running_loop().create_server(
        lambda: _Server(page, series), "0.0.0.0", 0, backlog=_BACKLOG
    )
    gc.freeze()
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _page() -> bytes:
    """What a real scheduler answers, with its head."""
    async with scheduler("c1") as real:
        reader, writer = await asyncio.open_connection(*host_port(f"127.0.0.1:{real.http_server.port}"))
        fields = "".join(f"{name}: {value}\r\n" for name, value in KEEP.items())
        writer.write(f"GET {METRICS_PATH}?key={key('c1')} HTTP/1.0\r\n{fields}\r\n".encode())
        page = await reader.readuntil(b"# EOF\n")
        writer.close()
        return page


def _series(clusters: list[str], page: bytes) -> bytes:
    """What a Prometheus answers that has scraped the clusters."""
    numbers = {**parse_page(page), "age_seconds": 1.0}
    result = [
        {"metric": {"cluster": cluster, "metric": name}, "value": [0.0, str(number)]}
        for cluster in clusters
        for name, number in numbers.items()
    ]
    body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}, separators=(",", ":"))
    body = body.replace("[0.0,", f"[{_TIME.decode()},", 1)
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


if __name__ == "__main__":
    uvloop.run(main(sys.stdin.read().split()))
