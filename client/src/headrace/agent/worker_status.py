"""Many objects may follow one scheduler's workers at once: Dask's own stream serves only the last that asked."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from distributed import Scheduler

_OPERATION = "subscribe_worker_status"
_PLUGIN = "worker-status"


def serve_many(scheduler: Scheduler) -> None:
    """Keep the stream of each subscriber. Dask's plugins have one name, and the next replaces the one before."""
    handlers: dict[str, Callable[..., Any]] = scheduler.handlers
    plugins: dict[str, Any] = scheduler.plugins
    subscribe, numbers = handlers[_OPERATION], itertools.count(1)

    def subscribe_under_own_name(comm: object) -> Any:  # Dask gives the connection to handlers that name it `comm`
        answer = subscribe(comm)
        if (plugin := plugins.pop(_PLUGIN, None)) is not None:
            plugin.name = f"{_PLUGIN}-{next(numbers)}"
            plugins[plugin.name] = plugin
        return answer

    handlers[_OPERATION] = subscribe_under_own_name
