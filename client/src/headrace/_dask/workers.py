"""The scheduler's own stream of workers coming and going, behind `GatewayCluster.scheduler_info`."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any

from distributed.core import rpc
from distributed.objects import SchedulerInfo

if TYPE_CHECKING:
    from headrace._dask.cluster_life import ClusterLife


async def subscribe(scheduler: rpc) -> tuple[Any, SchedulerInfo]:
    """Subscribes; returns the stream and what there is at its beginning."""
    comm = await scheduler.live_comm()
    comm.name = "headrace worker status"
    await comm.write({"op": "subscribe_worker_status"})
    return comm, SchedulerInfo(await comm.read())


async def follow(reference: weakref.ref[ClusterLife], comm: Any) -> None:
    """Tells the cluster object of each change. Does not keep it alive: an object that nobody needs is to be closed."""
    try:
        while True:
            messages = await comm.read()
            cluster = reference()
            if cluster is None:
                return
            for op, message in messages:
                cluster._update_worker_status(op, message)  # pyright: ignore[reportPrivateUsage] - distributed's hook
            cluster._workers_changed.set()  # pyright: ignore[reportPrivateUsage]
            del cluster
    except OSError:
        return
    except asyncio.CancelledError:
        comm.abort()
        raise
