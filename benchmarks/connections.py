"""What it costs that connections outlive their TCP connections: beside Dask's plain comm, and beside dask-gateway.

Bytes of each size go to a scheduler through the proxy and come back, in turn for each system; medians [min-max] of the
rounds in seconds. *plain* is headrace with `session-grace: 0`.
"""

import argparse
import os
import statistics
from contextlib import ExitStack

from benchmarks import systems

SIZES = {"1 kB": 1000, "100 kB": 100_000, "1 MiB": 1 << 20, "100 MiB": 100 << 20, "1 GiB": 1 << 30}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--without-peer", action="store_true", help="leave dask-gateway out")
    arguments = parser.parse_args()
    sizes = {name: SIZES[name] for name in arguments.sizes}
    figures: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        ours = stack.enter_context(systems.headrace()).driver(DASK_HEADRACE__CONNECT="proxied")
        drivers = [(stack.enter_context(ours), {"plain": 0, "headrace": "10m"})]
        if not arguments.without_peer:
            peer = stack.enter_context(systems.peer()).driver()
            drivers.append((stack.enter_context(peer), {"dask-gateway": None}))
        for _ in range(arguments.rounds):
            for driver, graces in drivers:
                answer = driver.ask("transfers", sizes=list(sizes.values()), graces=graces)
                for name, by_row in answer.items():
                    for label, size in sizes.items():
                        for way in ("up", "down"):
                            figures.setdefault(f"{label} {way}", {}).setdefault(name, []).append(
                                by_row[f"{way} {size}"]
                            )
    names = list(next(iter(figures.values())))
    print(f"| s | {' | '.join(names)} | speed: headrace / plain |")
    print("|---" * (len(names) + 2) + "|")
    for row, by_system in figures.items():
        cells = [f"{statistics.median(f):.3g} [{min(f):.3g}-{max(f):.3g}]" for f in by_system.values()]
        ratio = statistics.median(p / h for p, h in zip(by_system["plain"], by_system["headrace"], strict=True))
        print(f"| {row} | {' | '.join(cells)} | {ratio:.2f} |")
    print("\nLoad of the machine in the last 1, 5 and 15 minutes:", *(f"{load:.1f}" for load in os.getloadavg()))


if __name__ == "__main__":
    main()
