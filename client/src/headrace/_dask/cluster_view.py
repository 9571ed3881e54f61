"""How a `GatewayCluster` is shown: one line of text, and rows for Dask's tables in notebooks."""

from __future__ import annotations

import html

from distributed.core import Status

from headrace._dask.cluster_cost import spent
from headrace._dask.lifecycle import Lifecycle

# Of Dask's tables, which have two columns; a notebook would align it right.
_CELL = "<td colspan='2' style='text-align: left'>"


def line(life: Lifecycle) -> str:
    """Return the cluster as one line: name, state, workers, threads, and what it has cost if that is known."""
    workers = life.scheduler_info["workers"].values()
    threads = sum(worker["nthreads"] for worker in workers)
    cost = spent(life.usage)
    wait = f", waiting={life.waiting}" if life.waiting else ""
    cost_part = f", {cost[0]}={cost[1]}" if cost else ""
    return f"GatewayCluster<{life.name}, {_state(life)}, workers={len(workers)}, threads={threads}{wait}{cost_part}>"


def rows(life: Lifecycle) -> str:
    """Return rows for the table of the cluster: its cost, an interruption or its end, and a warning of culling."""
    return _cost_row(life) + _absence_row(life) + _warning_row(life)


def scaling_table(life: Lifecycle) -> str:
    """Return a table of how worker groups are scaled, and of how many workers there are."""
    workers = len(life.scheduler_info["workers"])
    modes = "".join(
        f"<tr>{_CELL}{html.escape(group)}: {mode}</td></tr>" for group, mode in sorted(life.scaling.items())
    )
    rest = _cost_row(life) + _absence_row(life)
    wait = f" ({life.waiting} more wait for room)" if life.waiting else ""
    return f"<table>{modes}<tr>{_CELL}Workers: {workers}{wait}</td></tr>{rest}</table>"


def with_short_link(text: str, link: str) -> str:
    """Show the dashboard's link without its code, which is of no use to a reader, and broken where there is no room."""
    shown = f"<span style='overflow-wrap: anywhere'>{link.partition('?')[0]}</span>"
    return text.replace(f">{link}<", f">{shown}<")


def _state(life: Lifecycle) -> str:
    if life.ended and life.status is Status.running:
        return life.ended
    away = life.away_seconds
    return life.status.name if away is None else f"reconnecting ({away:.0f} s)"


def _cost_row(life: Lifecycle) -> str:
    """Return a row with what the cluster has cost so far, if that is known."""
    if (cost := spent(life.usage)) is None:
        return ""
    label = cost[0].replace("_", "-").capitalize()
    return f"<tr>{_CELL}{label}: {html.escape(cost[1])}</td></tr>"


def _absence_row(life: Lifecycle) -> str:
    """Return a row after the cluster's end, and while the way to the scheduler is interrupted."""
    if life.ended:
        return f"<tr>{_CELL}<strong>{life.ended.capitalize()}</strong></td></tr>"
    away = life.away_seconds
    return "" if away is None else f"<tr>{_CELL}<strong>Reconnecting ({away:.0f} s)</strong></td></tr>"


def _warning_row(life: Lifecycle) -> str:
    """Return a row while the cluster is about to be given back."""
    warning = life.notices.warning
    return f"<tr>{_CELL}<strong>{html.escape(warning)}</strong></td></tr>" if warning else ""
