"""The metrics of one worker, for the page that its scheduler shows of it.

Workers' own HTTP servers show nothing, since others reach them. headrace's numbers are those of the worker's last
heartbeat; Dask's own are asked of the worker, over the cluster's own connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from distributed.core import rpc
from distributed.protocol.pickle import dumps

from headrace.agent.meter import Metric, cores_of, memory_of, spilled_by

if TYPE_CHECKING:
    from distributed import Scheduler, Worker
    from distributed.scheduler import WorkerState

logger = logging.getLogger("headrace.agent")

# Prometheus gives up after ten seconds. A worker that holds its interpreter for longer shows headrace's numbers only.
_ANSWER_SECONDS = 5.0


def find_worker(scheduler: Scheduler, name: str) -> WorkerState | None:
    """Returns the worker of this name, if it has joined."""
    address = scheduler.aliases.get(name)
    return None if address is None else scheduler.workers.get(address)


def worker_metrics(worker: WorkerState) -> Iterable[Metric]:
    """Returns what the scheduler knows of a worker."""
    return (
        _gauge("memory_bytes", "Memory that the worker's process uses.", memory_of(worker)),
        _gauge("cores", "Cores that the worker's process uses.", cores_of(worker)),
        _gauge("spilled_bytes", "Results on the worker's disk, for lack of memory.", spilled_by(worker)),
        _gauge("executing_tasks", "Tasks that the worker computes.", len(worker.executing)),
        _gauge(
            "processing_tasks", "Tasks that the worker has, those that it computes included.", len(worker.processing)
        ),
        _gauge("held_tasks", "Results that the worker holds.", len(worker.has_what)),
        _gauge("held_bytes", "Size of the results that the worker holds.", worker.nbytes),
    )


async def dask_metrics(scheduler: Scheduler, worker: WorkerState) -> str:
    """Returns Dask's own page of a worker; an empty text if it has none, or does not answer."""
    try:
        # The scheduler's own pool of connections unpacks no answers.
        connection: Any = rpc(worker.address, connection_args=scheduler.connection_args)
        async with asyncio.timeout(_ANSWER_SECONDS), connection:
            answer = await connection.run(function=dumps(_dask_page))
    except OSError as error:  # connections that break and time-outs, too
        logger.info("worker %s did not show Dask's metrics: %s", worker.name, error)
        return ""
    page = answer.get("result") if answer.get("status") == "OK" else ""
    return page if isinstance(page, str) else ""


def _dask_page(dask_worker: Worker) -> str:
    """Runs in the worker, whose environment may lack prometheus_client."""
    try:
        from distributed.http.worker.prometheus.core import WorkerMetricCollector
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        return ""
    registry = CollectorRegistry()
    registry.register(WorkerMetricCollector(dask_worker))
    return generate_latest(registry).decode()


def _gauge(name: str, text: str, value: float) -> Metric:
    return Metric(f"headrace_worker_{name}", "gauge", text, value)
