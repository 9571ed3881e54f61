"""Which options each backend gives to users. An administrator's own come from here too, later."""

from __future__ import annotations

from headrace_controller.config import WorkerDefaults
from headrace_controller.options.catalogue import Option, Options
from headrace_controller.options.kinds import Bytes, Float, Int, Resources, Text, TextList, TextMapping


def worker_options(defaults: WorkerDefaults) -> tuple[Option, ...]:
    """What every backend knows of a worker."""
    return (
        Option(
            key="worker_cores",
            label="Worker cores",
            description="Cores that a worker counts as.",
            kind=Float(0.01, 1024),
            default=defaults.cores,
            per_group=True,
        ),
        Option(
            key="worker_threads",
            label="Worker threads",
            description="Threads of a worker; 0: as many as it has cores.",
            kind=Int(0, 1024),
            default=0,
            per_group=True,
        ),
        Option(
            key="worker_memory",
            label="Worker memory",
            description="Memory limit of a worker in bytes, or as '4 GiB'; 0: none.",
            kind=Bytes(0, 2**50),
            default=int(defaults.memory_bytes),
            per_group=True,
        ),
        Option(
            key="worker_resources",
            label="Worker resources",
            description="Dask resources of a worker, such as GPU: 1.",
            kind=Resources(max_entries=32),
            default={},
            per_group=True,
        ),
        Option(
            key="worker_lifetime",
            label="Worker lifetime",
            description="Seconds after which a worker retires and is replaced; 0: none.",
            kind=Float(0, 10 * 365 * 86400),
            default=0.0,
            per_group=True,
        ),
    )


def local_options(defaults: WorkerDefaults) -> Options:
    """The choices of the local backend."""
    return Options(
        [
            *worker_options(defaults),
            Option(
                key="environment",
                label="Environment variables",
                description="Set for the scheduler and the workers.",
                kind=TextMapping(),
                default={},
                per_group=True,
            ),
            Option(
                key="conda_prefix",
                label="Python environment",
                description="Directory of a conda or virtual environment to run in; empty: headrace's own.",
                kind=Text(4096),
                default="",
            ),
            Option(
                key="start_command",
                label="Start command",
                description="Command that runs a process of the cluster instead of the usual one.",
                kind=TextList(),
                default=[],
                per_group=True,
            ),
        ]
    )
