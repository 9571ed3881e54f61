"""Measures headrace beside dask-gateway in one interleaved run, and prints a table: ``make bench``.

With ``--before CHECKOUT`` an older headrace is measured in the same run, from that checkout and its .venv.
Medians [min-max] of the rounds; the ratios are headrace / dask-gateway and headrace / before of the medians. On a
shared machine trust the ratios.
"""

import argparse
import json
import os
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path

import systems
import throughput

# Row -> (scenario, its arguments, figure of its answer, unit)
ROWS = {
    "new_cluster() usable, s": ("new_cluster", {}, "usable"),
    "scale 0 to 1 worker, s": ("scale", {"workers": 1}, "joined"),
    "scale 0 to 4 workers, s": ("scale", {"workers": 4}, "joined"),
    "shutdown with 4 workers, all processes gone, s": ("shutdown", {"workers": 4}, "gone"),
    "the same right after scale(0), s": ("shutdown", {"workers": 4, "after_scale_to_zero": True}, "gone"),
}
PATH_ROWS = {
    "echo of 64 bytes, p50, s": "echo_p50",
    "bulk to the scheduler, MiB/s": "up_mib_s",
    "bulk from the scheduler, MiB/s": "down_mib_s",
}


class Table:
    """Figures by row and system."""

    def __init__(self) -> None:
        self.figures: dict[str, dict[str, list[float]]] = {}

    def add(self, row: str, system: str, figure: float) -> None:
        self.figures.setdefault(row, {}).setdefault(system, []).append(figure)
        sys.stderr.write(f"  {system}: {row} {figure:.4g}\n")

    def lines(self):
        measured = {system for by_system in self.figures.values() for system in by_system}
        others = [system for system in ("dask-gateway", "before") if system in measured]
        heads = ["what", *others, "headrace", *(f"headrace / {other}" for other in others)]
        yield f"| {' | '.join(heads)} |"
        yield "|---" * len(heads) + "|"
        for row, by_system in self.figures.items():
            ours = by_system.get("headrace", [])
            cells = [*(_show(by_system.get(other, [])) for other in others), _show(ours)]
            cells += [_ratio(ours, by_system.get(other, [])) for other in others]
            yield f"| {row} | {' | '.join(cells)} |"


def _ratio(ours: list[float], theirs: list[float]) -> str:
    return f"{statistics.median(ours) / statistics.median(theirs):.3g}" if ours and theirs else ""


def _show(figures: list[float]) -> str:
    if not figures:
        return ""
    return f"{statistics.median(figures):.3g} [{min(figures):.3g}-{max(figures):.3g}]"


def measure_lifecycle(table: Table, running: list[systems.System], rounds: int) -> None:
    with ExitStack() as stack:
        drivers = {system.name: stack.enter_context(system.driver()) for system in running}
        for driver in drivers.values():
            driver.ask("warm_up")
        for _ in range(rounds):
            for row, (scenario, arguments, figure) in ROWS.items():
                for name, driver in drivers.items():
                    table.add(row, name, driver.ask(scenario, **arguments)[figure])


def measure_burst(table: Table, running: list[systems.System], rounds: int, clusters: int) -> None:
    for _ in range(rounds):
        for system in running:
            with system.driver() as many, system.driver() as one:
                one.send("watch_get", seconds=6 if system.is_headrace else 16)
                one.receive()  # its own cluster runs
                burst = many.ask("burst", clusters=clusters)
                watch = one.receive()
            table.add(f"{clusters} clusters at once, all usable, s", system.name, burst["all_usable"])
            table.add("PSS of one idle scheduler among these, MiB", system.name, burst["scheduler_pss_mib"])
            table.add("another session's GET meanwhile, p50, s", system.name, watch["p50"])
            table.add("another session's GET meanwhile, p99, s", system.name, watch["p99"])


def measure_data_path(table: Table, running: list[systems.System], rounds: int) -> None:
    for _ in range(rounds):
        for system in running:
            ways = ("proxied", "direct") if system.is_headrace else ("proxied",)
            for way in ways:
                with system.driver(DASK_HEADRACE__CONNECT=way) as driver:
                    answer = driver.ask("data_path", megabytes=100)
                for row, figure in PATH_ROWS.items():
                    table.add(f"{way}: {row}", system.name, answer[figure])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="0: only the rates of GET and LIST, three rounds")
    parser.add_argument("--clusters", type=int, default=25, help="clusters at once in the burst")
    parser.add_argument("--listed", type=int, default=1000, help="clusters in LIST; 0 leaves GET and LIST rates out")
    parser.add_argument("--only", choices=["headrace", "dask-gateway"], help="not the other one")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="also measure the headrace of this checkout")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    table = Table()
    with ExitStack() as stack:
        running: list[systems.System] = []
        if arguments.only != "headrace":
            running.append(stack.enter_context(systems.peer()))
        if arguments.before:
            running.append(stack.enter_context(systems.headrace("before", arguments.before.resolve())))
        if arguments.only != "dask-gateway":
            running.append(stack.enter_context(systems.headrace()))
        if arguments.rounds:
            measure_lifecycle(table, running, arguments.rounds)
        measure_burst(table, running, (arguments.rounds + 1) // 2, arguments.clusters)
        measure_data_path(table, running, (arguments.rounds + 1) // 2)
        # An older checkout may open its dashboards by another kind of link.
        ours = [system for system in running if system.name != "before"]
        throughput.measure_dashboards(table, ours, (arguments.rounds + 1) // 2 or 3)
        if arguments.listed:
            throughput.measure(table, running, arguments.rounds // 2 or 3, arguments.listed)
    print("\n".join(table.lines()))
    print("\nLoad of the machine in the last 1, 5 and 15 minutes:", *(f"{load:.1f}" for load in os.getloadavg()))
    if arguments.json:
        arguments.json.write_text(json.dumps(table.figures, indent=1))


if __name__ == "__main__":
    main()
