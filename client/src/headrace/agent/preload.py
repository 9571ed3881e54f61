"""A Dask preload: what a worker process does first, when it comes from the fork server."""

from __future__ import annotations

import contextlib
import os

import dask.config

PROCESS_GROUP = "headrace.process-group"


def dask_setup(_worker: object) -> None:
    """Joins the process group of its nanny, so that both are ended together."""
    group: int | None = dask.config.get(PROCESS_GROUP, default=None)
    if group is not None:
        # The nanny may have just died; then this process ends by itself in a moment.
        with contextlib.suppress(OSError):
            os.setpgid(0, group)
