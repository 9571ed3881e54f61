"""Measures what many tenants cost, and prints tables: ``python -m benchmarks.tenants [--small] [--only PART...]``.

Processor time of this process or of the controller, or the time that Valkey takes for a script by its own log, so the
load of the machine hardly matters. Schedulers, agents and backend are simulated.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
from collections.abc import AsyncIterator, Callable

import uvloop
from benchmarks.growth.tables import Row, table
from benchmarks.tenants import admission, pages, signals, writes

PARTS: dict[str, Callable[[bool], AsyncIterator[list[Row]]]] = {
    "admission": admission.measure,
    "signals": signals.measure,
    "pages": pages.measure,
    "writes": writes.measure,
}


async def main(parts: list[str], *, small: bool) -> None:
    for name in parts:
        async for rows in PARTS[name](small):
            print(table(rows), flush=True)
    print("Load of the machine in the last 1, 5 and 15 minutes:", *(f"{load:.1f}" for load in os.getloadavg()))
    print(f"Processors: {os.cpu_count()}, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="fewer clusters, in a minute")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="only these parts")
    given = parser.parse_args()
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(given.only, small=given.small))
