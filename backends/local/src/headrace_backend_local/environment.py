"""Environment variables with which the zygote and clusters' processes are started."""

from __future__ import annotations

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
