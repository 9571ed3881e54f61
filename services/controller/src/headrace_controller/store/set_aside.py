"""Leaves out what cannot be read of the store, so that one bad piece keeps no other from being read."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from headrace_chassis import logs
from headrace_controller import metrics

P = ParamSpec("P")
T = TypeVar("T")

log = logs.get_logger()


def readable(unpack: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Returns what `unpack` returns; None, with a line in the log, if it fails: of a newer release, or damaged."""
    try:
        return unpack(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 whatever is wrong with it
        metrics.UNREADABLE_ENTRIES.inc()
        log.warning("something in the store cannot be read and is left out", reader=unpack.__name__, error=str(error))
        return None
