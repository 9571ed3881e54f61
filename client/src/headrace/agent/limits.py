"""Limits of a Dask process, as `dask scheduler` and `dask worker` set them."""

from __future__ import annotations

import gc
import resource


def raise_open_files() -> None:
    """A scheduler holds a socket or two for each worker and client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard // 2), hard))


def collect_garbage_rarely() -> None:
    """Dask's own setting: its many long-lived objects make collections dear."""
    first, second, third = gc.get_threshold()
    gc.set_threshold(first * 3, second * 3, third * 3)
