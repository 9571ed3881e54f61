"""Measures how the controller's costs grow, and prints tables: ``python -m benchmarks.growth [--small]``.

One controller process over a real Valkey, with the tests' fake backend, which runs no processes; simulated agents and a
simulated proxy in this process call it over gRPC. Processor time is the controller's own, so the load of the machine
hardly matters to it; wall times are of a machine that the simulation and Valkey share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.growth import burst, quiet, workers
from benchmarks.growth.deployment import Deployment
from benchmarks.growth.tables import Row, table

SIZES = {"quiet": (100, 1_000, 10_000), "workers": (10, 100, 1_000, 5_000), "burst": (500,)}
SMALL = {"quiet": (10, 100), "workers": (10, 100), "burst": (50,)}


async def main(only: str | None, sizes: dict[str, tuple[int, ...]], quiet_seconds: float) -> dict[str, list[Row]]:
    scenarios: dict[str, Callable[[Deployment, tuple[int, ...]], Awaitable[list[Row]]]] = {
        "quiet": lambda deployment, counts: quiet.measure(deployment, counts, seconds=quiet_seconds),
        "workers": workers.measure,
        "burst": burst.measure,
    }
    figures: dict[str, list[Row]] = {}
    for name, measure in scenarios.items():
        if only in (None, name):
            with tempfile.TemporaryDirectory(prefix="hrg-") as directory:
                async with Deployment(Path(directory)) as deployment:
                    figures[name] = await measure(deployment, sizes[name])
            print(table(figures[name]), flush=True)
    print("Load of the machine in the last 1, 5 and 15 minutes:", *(f"{load:.1f}" for load in os.getloadavg()))
    print(f"Processors: {os.cpu_count()}, Python {sys.version.split()[0]}")
    return figures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="fewer clusters and workers, in about a minute")
    parser.add_argument("--only", choices=list(SIZES), help="only this scenario")
    parser.add_argument("--sizes", type=int, nargs="+", help="other sizes; with --only")
    parser.add_argument("--quiet-seconds", type=float, help="how long quiet clusters are measured; default 30")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    chosen = (SMALL if given.small else SIZES) | ({given.only: tuple(given.sizes)} if given.sizes else {})
    found = asyncio.run(main(given.only, chosen, given.quiet_seconds or (10 if given.small else 30)))
    if given.json:
        rows = {name: [asdict(row) for row in figures] for name, figures in found.items()}
        given.json.write_text(json.dumps(rows, indent=1))
