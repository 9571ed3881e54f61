"""The environment that a program must be executed with to fork worker processes.

Some variables are read only once: the seed of hashes by Python, others by malloc and by numerical libraries. Dask's
nanny sets them before it executes a worker process. What forks one must have been executed with them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

FORKABLE = sys.version_info < (3, 14) and hasattr(os, "pidfd_open")
"""Whether worker processes can be forked on this platform."""

# Dask's own number: strings must have the same hash in all workers of a cluster.
HASH_SEED = "6640"
# What Dask sets unless it is configured otherwise.
DASK_DEFAULTS = {
    "PYTHONHASHSEED": HASH_SEED,
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_ADDED = "HEADRACE_ADDED_VARIABLES"


def execute_with(needed: Mapping[str, str]) -> None:
    """Executes this program again with these variables, once, unless it was executed with them."""
    if _ADDED in os.environ:
        return  # what differs yet is changed as Python starts, and would be so again
    if any(os.environ.get(name) != value for name, value in needed.items()):
        added = " ".join(needed.keys() - os.environ.keys())
        environment = {**os.environ, **needed, _ADDED: added}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606


def execute_with_defaults() -> None:
    """Executes this program again with the variables that Dask sets by default; those that are set stay."""
    if FORKABLE:
        execute_with({name: os.environ.get(name, value) for name, value in DASK_DEFAULTS.items()})


def remove_added() -> None:
    """Removes the variables that `execute_with` has added: they would take precedence over Dask's configuration."""
    for name in os.environ.pop(_ADDED, "").split():
        os.environ.pop(name, None)
