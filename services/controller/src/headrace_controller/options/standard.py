"""Options that clusters of every backend have."""

from __future__ import annotations

from headrace.option_types import Bytes, Duration, Float, Int, NumberMapping
from headrace_controller.options.catalogue import Option
from headrace_controller.options.variables import ENVIRONMENT, VARIABLES


def standard_options(*, cores: float, memory_bytes: int) -> tuple[Option, ...]:
    """Return the options; cores and memory are a worker's defaults."""
    return (
        Option(
            key="worker_cores",
            label="Worker cores",
            description="Cores of a worker.",
            type=Float(0.01, 1024),
            default=cores,
            per_group=True,
        ),
        Option(
            key="worker_threads",
            label="Worker threads",
            description="Threads of a worker. 0 means as many as it has cores.",
            type=Int(0, 1024),
            default=0,
            per_group=True,
        ),
        Option(
            key="worker_memory",
            label="Worker memory",
            description="Memory limit of a worker, in bytes or as text such as '4 GiB'. 0 means no limit.",
            type=Bytes(0, 2**50),
            default=memory_bytes,
            per_group=True,
        ),
        Option(
            key="worker_gpus",
            label="Worker GPUs",
            description="GPUs of a worker.",
            type=Int(0, 64),
            default=0,
            per_group=True,
        ),
        Option(
            key="worker_resources",
            label="Worker resources",
            description="Dask resources of a worker, such as {'GPU': 1}.",
            type=NumberMapping(max_entries=32),
            default={},
            per_group=True,
        ),
        Option(
            key="worker_lifetime",
            label="Worker lifetime",
            description="Age at which a worker retires and is replaced, such as '2 h'. 0 means never.",
            type=Duration(0, 10 * 365 * 86400),
            default=0.0,
            per_group=True,
        ),
        Option(
            key=ENVIRONMENT,
            label="Environment variables",
            description="Environment variables of the scheduler and the workers.",
            type=VARIABLES,
            default={},
            per_group=True,
        ),
    )
