"""Environment variables of clusters' processes: what they inherit, and which ones a forked process cannot be given."""

from __future__ import annotations

import re
from collections.abc import Iterable

from headrace_chassis.environment import inherited as inherited  # noqa: PLC0414 - this module offers it too

# Read when the interpreter or a library is loaded, that is before a fork.
_READ_EARLY = re.compile(
    r"(LD|LC|DASK|OMP|GOMP|KMP|MKL|OPENBLAS|GOTO|BLIS|NUMEXPR|NUMBA|VECLIB|MALLOC|GLIBC|ARROW)_\w*"
    r"|LANG|LANGUAGE|TZ|PYTHON\w*"
)
# What Dask itself sets before it starts a worker.
WORKER_DEFAULTS = {
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
# A process that changes its title leaves its environment, which has its tag, readable in /proc.
TITLE_DEFAULTS = {"SPT_NOENV": "1"}
# Worker processes forked from the zygote must find what Dask would have set; the seed is the one that Dask uses.
ZYGOTE_DEFAULTS = {
    **WORKER_DEFAULTS,
    **TITLE_DEFAULTS,
    "PYTHONHASHSEED": "6640",
    # Arrow's allocator would start a thread, which no fork inherits.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
# Defaults of the settings of these names. The zygote may be started before the settings are read.
STANDBY, NICE = 2, 5


def needs_fresh_interpreter(names: Iterable[str]) -> bool:
    """Whether one of these variables has no effect on a process that is forked with everything imported."""
    return any(_READ_EARLY.fullmatch(name) for name in names)
